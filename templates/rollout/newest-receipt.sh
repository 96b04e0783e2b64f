# Print a tenant's newest receipt, of whichever verb; nothing where there is none. Argument: the directory.
cd "$1" 2>/dev/null || exit 0
newest=$(ls -1 | grep '\.json$' | sort -r | head -n 1)
[ -z "$newest" ] || cat "$newest"
