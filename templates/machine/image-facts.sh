# Inspect the server in an image without labels of ours. Runs as the service account. Argument: image id.
# Prints key=value lines; exits 1 with the last runtime's error where no container could run.
set -u
image=$1
# shellcheck disable=SC2016  # runs inside the image
inside='server=$(command -v postgres || ls /usr/lib/postgresql/*/bin/postgres /usr/local/pgsql/bin/postgres 2>/dev/null | tail -n 1)
[ -n "$server" ] || { echo "it has no program postgres" >&2; exit 3; }
server=$(readlink -f "$server"); bindir=${server%/*}
version=$("$server" --version) || exit 3
version=${version#*) }; version=${version%% *}
shared=$("$bindir/pg_config" --sharedir 2>/dev/null) || shared=
for place in "$shared" "${bindir%/bin}/share/postgresql" "${bindir%/bin}/share" "/usr/share/postgresql/${version%%.*}"; do
  control=$place/extension/vector.control
  [ ! -r "$control" ] || { echo "pgvector=$(sed -n "s/^default_version *= *.\([0-9.]*\).*/\1/p" "$control")"; break; }
done
echo "uid=$(id -u postgres)"; echo "gid=$(id -g postgres)"; echo "bindir=$bindir"; echo "postgres=$version"'
output=
for runtime in '' crun runc; do
  [ -z "$runtime" ] || command -v "$runtime" >/dev/null 2>&1 || continue
  if output=$(timeout -k 5 120 podman ${runtime:+--runtime "$runtime"} run --rm --pull=never --network=none --cap-drop=all \
      --security-opt=no-new-privileges --read-only --user 0:0 --entrypoint /bin/sh "$image" -c "$inside" 2>&1); then
    printf '%s\n' "$output"
    exit 0
  fi
done
printf '%s\n' "$output" >&2
exit 1
