# Print every secret of a tenant: its file's name, a blank, its text. Argument: the directory.
cd "$1" && for name in *; do printf "%s %s\n" "$name" "$(cat "$name")"; done
