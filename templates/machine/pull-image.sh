# uses lib.sh
# Pull an image of a registry into the account's store, and give it the tag that tenants use. Runs as the account.
# Arguments: the machine's name, the image as podman names it (with a tag, or @ and a digest), tag.
set -eu
machine=$1 reference=$2 tag=$3
refuse() { printf '%s\n' "$machine: $1" "HINT: $2" >&2; exit 1; }
take_image_lock
make_image_directory
case $reference in
  *@*) podman image exists "$reference" 9>&- && pull= || pull=yes ;;
  *) pull=yes ;;
esac
if [ -n "$pull" ]; then
  error=$(podman pull --quiet "$reference" 2>&1 9>&-) || {
    error=$(printf '%s' "$error" | grep -v '^Trying to pull' | tail -n 1)
    refuse "image $reference cannot be pulled: $error" "$machine must reach the registry, which must have exactly this image: runbooks/image-by-registry.md"
  }
fi
there=$(podman info --format '{{.Host.Arch}}' 9>&-)
found=$(podman image inspect --format '{{.Architecture}}' "$reference" 9>&-)
if [ "$found" != "$there" ]; then
  podman rmi "$reference" >/dev/null 9>&- || true
  refuse "image $reference is for $found, this machine is $there" "give its tenants an image of the machine's own architecture; this one was removed again"
fi
podman tag "$reference" "$tag" 9>&-
