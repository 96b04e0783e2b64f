# uses lib.sh
# Load an image's archive from standard input, unless the image is there, and tag it. Runs as the account.
# Arguments: the id that the image must have, tag, the archive's name on the control machine.
set -eu
id=$1 tag=$2 archive=$3
take_image_lock
make_image_directory
if ! podman image exists "$id" 9>&-; then
  podman load --quiet 9>&- >/dev/null
  podman image exists "$id" 9>&- || { echo "archive $archive was loaded, but did not give the image $id that it claims to be" >&2; exit 1; }
fi
podman tag "$id" "$tag" 9>&-
