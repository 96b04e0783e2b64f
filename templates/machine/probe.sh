# Find the OCI runtime that can run a hardened container with its own network. Runs as the service account.
# Arguments: image id, uid, gid. Prints key=value lines; exits 1, with every runtime's error, where none can.
set -u
image=$1 uid=$2 gid=$3
errors=
for runtime in '' crun runc; do
  [ -z "$runtime" ] || command -v "$runtime" >/dev/null 2>&1 || continue
  if output=$(timeout -k 5 120 podman ${runtime:+--runtime "$runtime"} run --rm --pull=never \
      --userns="keep-id:uid=$uid,gid=$gid" --user "$uid:$gid" --cap-drop=all --security-opt=no-new-privileges \
      --read-only --read-only-tmpfs=false --tmpfs /tmp:mode=1777 --entrypoint /bin/true "$image" 2>&1); then
    printf 'runtime=%s\n' "$runtime"
    if systemctl --user show-environment >/dev/null 2>&1; then echo user_systemd=yes; else echo user_systemd=no; fi
    podman info --format 'podman={{.Version.Version}}
driver={{.Store.GraphDriverName}}
volumes={{.Store.VolumePath}}
controllers={{.Host.CgroupControllers}}'
    exit 0
  fi
  errors="$errors
${runtime:-default runtime}: $output"
done
printf '%s\n' "$errors" >&2
exit 1
