# uses lib.sh
# Load an image's archive from standard input, unless the image is there, and give it its tag. Runs as the account.
# Arguments: the id that must come out of it, tag, the archive's name on the control machine.
set -eu
id=$1 tag=$2 archive=$3
take_image_lock
make_image_directory
if ! podman image exists "$id" 9>&-; then
  podman load --quiet 9>&- >/dev/null
  podman image exists "$id" 9>&- || { echo "archive $archive did not become the image $id that it says it is" >&2; exit 1; }
fi
podman tag "$id" "$tag" 9>&-
