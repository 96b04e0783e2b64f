# Load an image's archive from standard input, unless the image is there, and give it its tag. Runs as the account.
# Arguments: the id that must come out of it, tag, the archive's name on the control machine.
set -eu
id=$1 tag=$2 archive=$3
# The orphan of a killed deploy may still be loading: one at a time, and not twice. podman leaves a process behind
# that must not inherit the lock.
mkdir -p "$HOME/.local/share/pgberth"
exec 9>>"$HOME/.local/share/pgberth/build.lock"
flock 9
# podman's own temporary files, which a killed one leaves: whoever holds the lock is the only one who has any.
tmp=$HOME/.local/share/pgberth/tmp
rm -rf "$tmp"
mkdir "$tmp"
trap 'rm -rf "$tmp"' EXIT
if ! podman image exists "$id" 9>&-; then
  TMPDIR=$tmp podman load --quiet 9>&- >/dev/null
  podman image exists "$id" 9>&- || { echo "archive $archive did not become the image $id that it says it is" >&2; exit 1; }
fi
podman tag "$id" "$tag" 9>&-
