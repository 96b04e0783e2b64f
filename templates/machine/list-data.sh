# uses lib.sh
# What has data here, one a line: a tenant that has a volume, with a doublet for each further volume; or `volume NAME`
# for a volume that is not a tenant's, or whose data is not shown to be its own. Runs as the service account.
# Argument: the label of a tenant's things.
set -eu
podman_is_configured || exit 0
volumes=$(podman volume ls --format "{{ .Name }} {{ index .Labels \"$1\" }}")
printf '%s\n' "$volumes" | while read -r name tenant; do
  [ -n "$name" ] || continue
  place=$(place_of_volume "$name") || place=
  case $name in "$tenant-data-g"*[!0-9]* | "$tenant-data-g") own= ;; "$tenant-data-g"*) own=yes ;; *) own= ;; esac
  if [ -n "$own" ]; then
    why=$(foreign_data "$tenant" "$name" "$place")
    [ "$why" != 'has no marker' ] || [ "$(unmarked_data "$tenant" "${name##*-g}" "$place")" = data ] || why=
    [ -z "$why" ] || own=
    printf '%s\n' "$tenant"
  fi
  [ -n "$own" ] || printf 'volume %s\n' "$name"
done
