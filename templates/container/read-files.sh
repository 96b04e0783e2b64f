# Print files, each on a line: its name, a blank, its content as base64. Files that are not there are left out.
# Arguments: the tenant's directory, the number of files in it, those files, then files below the home.
directory=$1 inside=$2
shift 2
for file in "$@"; do
  path=$file
  [ "$inside" -le 0 ] || path=$directory/$file
  inside=$((inside - 1))
  [ ! -f "$path" ] || printf '%s %s\n' "$file" "$(base64 -w 0 < "$path")"
done
