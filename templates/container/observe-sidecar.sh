# uses lib.sh
# One observation of a tenant's memory plugin: every section below, on stdout. Changes nothing. health.sh stands before it.
# Arguments: the container, the image. Exits 1 where podman cannot tell: what cannot be read may well be there.
container=$1 image=$2
section() { printf '\n--- %s\n' "$1"; }
# inspect KIND NAME: what podman has of it; [] where it is not there.
inspect() {
  # Where there is none, podman prints an empty list and fails, as it does where it cannot tell.
  found=$(podman "$1" inspect "$2" 2>/dev/null) && { printf '%s\n' "$found"; return; }
  podman "$1" exists "$2"
  [ $? -eq 1 ] || { say "podman cannot inspect the $1 $2"; return 1; }
  echo '[]'
}
inspected=$(inspect image "$image") || exit 1
section image; printf '%s\n' "$inspected"
inspected=$(inspect container "$container") || exit 1
section container; printf '%s\n' "$inspected"
# The port that it was started with: the inventory's may be another by now.
port=$(printf '%s\n' "$inspected" | sed -n 's/^ *"HostPort": "\([0-9]*\)".*/\1/p' | head -n 1)
section health; [ -z "$port" ] || health "$port"
exit 0
