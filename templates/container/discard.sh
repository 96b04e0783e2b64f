# uses lib.sh
# Delete the data of a throwaway tenant: only volumes whose label names it, and whose data is its own or was never made.
# Comes after stop.sh and remove-unit.sh.
# shellcheck disable=SC2154  # stop.sh sets name
for volume in $(podman volume ls --quiet --filter "label=pgberth.tenant=$name"); do
  place=$(place_of_volume "$volume") || {
    say "$name: podman does not say where its volume $volume is"
    say "HINT: nothing of it was removed; ask podman: podman volume inspect $volume; then run it again"
    exit 1
  }
  why=$(foreign_data "$name" "$volume" "$place")
  [ "$why" != 'has no marker' ] || [ "$(unmarked_data "$name" "${volume##*-g}" "$place")" = data ] || why=
  [ -z "$why" ] || {
    say "$name: its volume $volume $why"
    say "HINT: it was not removed, since it may be somebody's data; runbooks/foreign-volume.md"
    exit 1
  }
  podman volume rm "$volume" >/dev/null || exit 1
done
rm -rf -- "$HOME/.local/share/pgberth/tenants/$name"
