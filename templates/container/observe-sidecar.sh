# One observation of a tenant's memory plugin: every section below, on stdout. Changes nothing.
# Arguments: the container, the image, the port of loopback where it is to answer.
container=$1 image=$2 port=$3
section() { printf '\n--- %s\n' "$1"; }
section image; podman image inspect "$image" 2>/dev/null
section container; podman container inspect "$container" 2>/dev/null
section health; health "$port"
exit 0
