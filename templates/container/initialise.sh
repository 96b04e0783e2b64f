# uses lib.sh
# Make a new volume and initialise it, in a one-shot container that reads its own script on stdin.
# Arguments: that container, the volume, the tenant, the generation, then the arguments of podman run.
# Where the volume can be made, no killed deploy has left anything that works on it, and podman is asked no more: each
# question takes a fiftieth of a new tenant's time. Otherwise a killed deploy's container goes first: it may still be
# writing to the volume that is scrapped.
set -eu
init=$1 volume=$2 tenant=$3 generation=$4; shift 4
make() { podman volume create --label "pgberth.tenant=$tenant" --label "pgberth.generation=$generation" "$volume"; }
if ! make >/dev/null 2>&1; then
  require_images "$tenant" "$@"
  podman rm --force --time 5 "$init" >/dev/null 2>&1 || true
  kill_orphaned_monitor "$init"
  if podman volume exists "$volume"; then
    owner=$(podman volume inspect --format '{{ index .Labels "pgberth.tenant" }}' "$volume")
    place=$(podman volume inspect --format '{{ .Mountpoint }}' "$volume")
    # What a killed deploy had begun may have come to its end since it was looked at: then there is nothing to do.
    if [ "$owner" = "$tenant" ] && grep -qs '"tenant": "'"$tenant"'",' "$place/pgberth.initialised"; then exit 0; fi
    if [ "$owner" != "$tenant" ] || [ -e "$place/pgberth.initialised" ]; then
      echo "$tenant: volume $volume is another's, or has been initialised since it was looked at" >&2
      echo "HINT: nothing was removed; run the deploy again, then see runbooks/foreign-volume.md" >&2
      exit 1
    fi
    podman volume rm "$volume" >/dev/null
  fi
  make >/dev/null
fi
run_container "$@" || {
  code=$?
  # Without an image nothing has run on the volume, which was made a moment ago: it goes again.
  (require_images "$tenant" "$@") || { podman volume rm "$volume" >/dev/null; exit 1; }
  exit "$code"
}
