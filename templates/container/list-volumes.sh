# uses lib.sh
# The tenant's volumes, newest first, one a line: its name, a word for what is in it, and more about that.
#   own       the tenant's data; then PostgreSQL's major version by its marker
#   foreign   a volume that is marked, or cannot be read, and is not shown to be the tenant's data; then why
#   empty, begun, data   a volume without a marker; see unmarked_data in lib.sh
# By their names, whatever their labels, and also directories that podman has forgotten. Arguments: the tenant.
tenant=$1
there=$(podman volume ls --format '{{ .Name }} {{ index .Labels "pgberth.tenant" }}') || exit 1
volumes=$(sed -n 's/^ *"volumes": "\(.*\)",*$/\1/p' "$HOME/.local/share/pgberth/machine.json" 2>/dev/null)
names=$(printf '%s\n' "$there" | cut -d ' ' -f 1; [ -z "$volumes" ] || ls "$volumes" 2>/dev/null)
for name in $(printf '%s\n' "$names" | grep -x "$tenant-data-g[0-9][0-9]*" | sort -Vru); do
  place=$(place_of_volume "$name") || place=
  [ -n "$place" ] || place=$volumes/$name/_data
  why=$(foreign_data "$tenant" "$name" "$place")
  case $why in
    '') if printf '%s\n' "$there" | grep -qx "$name $tenant"; then
          printf '%s own %s\n' "$name" "$(marker_field major "$place/pgberth.initialised")"
        else
          printf "%s foreign has this tenant's marker, and not its label\n" "$name"
        fi ;;
    'has no marker')
      held=$(unmarked_data "$tenant" "${name##*-g}" "$place")
      # What somebody else has made is not filled, even where it is empty.
      printf '%s\n' "$there" | grep -qx "$name $tenant" || held=data
      printf '%s %s\n' "$name" "${held:-empty}" ;;
    *) printf '%s foreign %s\n' "$name" "$why" ;;
  esac
done
