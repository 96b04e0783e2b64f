// A client on Go's lib/pq: runs each statement of its arguments on one connection, and prints the one value it gives.
// The URL comes on standard input.
package main

import (
	"database/sql"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	_ "github.com/lib/pq"
)

func main() {
	log.SetFlags(0)
	url, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	database, err := sql.Open("postgres", strings.TrimSpace(string(url)))
	if err != nil {
		log.Fatal(err)
	}
	database.SetMaxOpenConns(1)
	for _, statement := range os.Args[1:] {
		var value string
		if err := database.QueryRow(statement).Scan(&value); err != nil {
			log.Fatal(err)
		}
		fmt.Println(value)
	}
}
