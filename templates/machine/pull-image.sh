# Have an image of a registry in the account's store, and give it the tag that tenants know it by. Runs as the account.
# Arguments: the machine's name, the image as podman names it (with a tag, or @ and a digest), tag.
set -eu
machine=$1 reference=$2 tag=$3
refuse() { printf '%s\n' "$machine: $1" "HINT: $2" >&2; exit 1; }
# The orphan of a killed deploy may still be pulling: one at a time, and not twice. podman leaves a process behind
# that must not inherit the lock.
mkdir -p "$HOME/.local/share/pgberth"
exec 9>>"$HOME/.local/share/pgberth/build.lock"
flock 9
# podman's own temporary files, which a killed one leaves: whoever holds the lock is the only one who has any.
tmp=$HOME/.local/share/pgberth/tmp
rm -rf "$tmp"
mkdir "$tmp"
trap 'rm -rf "$tmp"' EXIT
case $reference in
  *@*) podman image exists "$reference" 9>&- && pull= || pull=yes ;;
  *) pull=yes ;;
esac
if [ -n "$pull" ]; then
  said=$(TMPDIR=$tmp podman pull --quiet "$reference" 2>&1 9>&-) || {
    said=$(printf '%s' "$said" | grep -v '^Trying to pull' | tail -n 1)
    refuse "image $reference cannot be pulled: $said" "the registry must be reached from $machine and hold exactly this image: runbooks/image-by-registry.md"
  }
fi
there=$(podman info --format '{{.Host.Arch}}' 9>&-)
found=$(podman image inspect --format '{{.Architecture}}' "$reference" 9>&-)
if [ "$found" != "$there" ]; then
  podman rmi "$reference" >/dev/null 9>&- || true
  refuse "image $reference is for $found, this machine is $there" "give its tenants an image of the machine's own architecture; it was not used"
fi
podman tag "$reference" "$tag" 9>&-
