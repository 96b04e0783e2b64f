# uses lib.sh
# Make a new volume and initialise it, in a one-shot container that reads its own script on stdin.
# Arguments: that container, the volume, the tenant, the generation, then the arguments of podman run.
# Where the volume can be made, no killed deploy has left anything that works on it, and podman is asked no more: each
# question takes a fiftieth of a new tenant's time. Otherwise a killed deploy's container goes first: it may still be
# writing to the volume.
set -eu
init=$1 volume=$2 tenant=$3 generation=$4; shift 4
make() { podman volume create --label "pgberth.tenant=$tenant" --label "pgberth.generation=$generation" "$volume"; }
refuse() {
  say "$1"
  say "HINT: nothing was removed; run the deploy again, then see runbooks/foreign-volume.md"
  exit 1
}
if make >/dev/null 2>&1; then made=yes; else
  made=
  require_images "$tenant" "$@"
  if podman container exists "$init"; then
    whose=$(podman container inspect --format '{{ index .Config.Labels "pgberth.tenant" }}' "$init")
    [ "$whose" = "$tenant" ] || refuse "$tenant: container $init is another's"
    podman rm --force --time 5 "$init" >/dev/null 2>&1 || true
  fi
  kill_orphaned_monitor "$init"
  if podman volume exists "$volume"; then
    owner=$(podman volume inspect --format '{{ index .Labels "pgberth.tenant" }}' "$volume")
    [ "$owner" = "$tenant" ] ||
      refuse "$tenant: volume $volume is another's"
  else
    make >/dev/null
    made=yes
  fi
fi
# Before a container mounts it, which changes the owners of all files in it.
place=$(place_of_volume "$volume") || place=
if [ -e "$place/pgberth.initialised" ] || [ -L "$place/pgberth.initialised" ]; then
  why=$(foreign_data "$tenant" "$volume" "$place")
  # What a killed deploy had begun may have come to its end since it was looked at: then there is nothing to do.
  [ -n "$why" ] || exit 0
  refuse "$tenant: its volume $volume $why"
fi
case $(unmarked_data "$tenant" "$generation" "$place") in
  data) refuse "$tenant: its volume $volume holds what no initialisation left there" ;;
esac
run_container "$@" || {
  code=$?
  # Without an image nothing has run on the volume, which was made a moment ago. It goes again, if it is empty.
  (require_images "$tenant" "$@") || { [ -z "$made" ] || ! rmdir "$place" || podman volume rm "$volume" >/dev/null; exit 1; }
  exit "$code"
}
