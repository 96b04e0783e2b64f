# Delete the data of a throwaway tenant: only volumes whose label names it. Comes after stop.sh and remove-unit.sh.
# shellcheck disable=SC2154  # stop.sh sets name
for volume in $(podman volume ls --quiet --filter "label=pgberth.tenant=$name"); do
  podman volume rm "$volume" >/dev/null || exit 1
done
rm -rf -- "$HOME/.local/share/pgberth/tenants/$name"
