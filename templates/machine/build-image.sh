# uses lib.sh
# Build the server's image from the distribution's own packages and import it. Runs as the account that will own it.
# Arguments: suite, tag, recipe, major, mirror (may be empty), packages joined by commas.
set -eu
suite=$1 tag=$2 recipe=$3 major=$4 mirror=$5 packages=$6
take_image_lock
built=$(podman image inspect --format '{{ index .Labels "pgberth.recipe" }}' "$tag" 2>/dev/null 9>&-) || built=
[ "$built" != "$recipe" ] || exit 0
umask 022
# Files of a half-built tree belong to subordinate ids: only podman's user namespace may remove them.
remove() { rm -rf "$1" 2>/dev/null || podman unshare rm -rf "$1" 9>&-; }
# shellcheck disable=SC3067  # dash and busybox know -O
for left in "${TMPDIR:-/tmp}"/pgberth-image.*; do [ ! -O "$left" ] || remove "$left"; done
work=$(mktemp -d "${TMPDIR:-/tmp}/pgberth-image.XXXXXX")
trap 'remove "$work"' EXIT
chmod 0755 "$work"
# APT refuses an expired Release file. Where this machine's policy accepts old mirrors, the image's build accepts them too.
valid=$(apt-config dump Acquire::Check-Valid-Until 2>/dev/null || true)
# The package must create no cluster: podman would copy the image's /var/lib/postgresql into every new volume. Manuals and
# translations only make the image larger.
# shellcheck disable=SC2016  # the hooks are separate scripts
TMPDIR=$work mmdebstrap --quiet --variant=minbase --include="$packages" ${valid:+--aptopt="$valid"} \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/i18n/*' \
  --customize-hook='chroot "$1" dpkg-query -W -f "\${Package} \${Version}\n" > "$1/etc/pgberth-packages"' \
  --customize-hook='rm -rf "$1"/var/lib/postgresql/* "$1"/etc/postgresql/* "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin' \
  "$suite" "$work/root.tar" ${mirror:+"$mirror"}
# Without root the hooks run as another user and cannot write here: their results come out inside the tree.
tar -xf "$work/root.tar" -C "$work" --transform='s,.*/,,' ./etc/pgberth-packages ./etc/passwd
version() { awk -v p="$1" '$1 == p { sub(/-.*/, "", $2); print $2 }' "$work/pgberth-packages"; }
number() { awk -F: -v field="$1" '$1 == "postgres" { print $field }' "$work/passwd"; }
TMPDIR=$work podman import --quiet \
  --change "LABEL pgberth.recipe=$recipe" \
  --change "LABEL pgberth.postgres=$(version "postgresql-$major")" \
  --change "LABEL pgberth.pgvector=$(version "postgresql-$major-pgvector")" \
  --change "LABEL pgberth.uid=$(number 3)" \
  --change "LABEL pgberth.gid=$(number 4)" \
  --change "LABEL pgberth.bindir=/usr/lib/postgresql/$major/bin" \
  --change "USER postgres" --change "STOPSIGNAL SIGINT" \
  "$work/root.tar" "$tag" 9>&-
