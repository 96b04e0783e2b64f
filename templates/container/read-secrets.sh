# Print every secret of a tenant: its file's name, a blank, its text. Argument: the directory.
cd "$1" && for name in *; do
  IFS= read -r text < "$name" || [ -n "$text" ] || continue
  printf "%s %s\n" "$name" "$text"
done
