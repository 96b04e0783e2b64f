# Functions that several scripts need. A script whose first line is `# uses lib.sh` is sent with this file before it.

# say TEXT: one line on standard error.
say() { printf '%s\n' "$*" >&2; }

# write_file FILE: standard input becomes the file. After a crash it has the old text or the new one, never half of it.
write_file() {
  case $1 in */*) [ -d "${1%/*}" ] || mkdir -p "${1%/*}" || return 1 ;; esac
  cat > "$1.new" && sync "$1.new" && mv -f "$1.new" "$1"
}

# process_of_socket INODE: print `pid N (NAME)` of a process that has the socket open; nothing where it is not ours to see.
process_of_socket() {
  # shellcheck disable=SC2012  # all links with one program; find of busybox does not look at them
  pid=$(ls -l /proc/[0-9]*/fd 2>/dev/null | awk -v s="socket:[$1]" '/^\/proc\// { split($0, at, "/") } $NF == s { print at[3]; exit }')
  [ -z "$pid" ] || printf 'pid %s (%s)\n' "$pid" "$(cat "/proc/$pid/comm" 2>/dev/null)"
}

# listeners ADDRESS...: print `PORT UID INODE`, the port in hex, of each socket that listens where a server on these IPv4
# addresses would: on one of them, on one of them as IPv6 has it (::ffff:ADDRESS), or on every address.
listeners() {
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v addresses="$*" '
    BEGIN {
      count = split(addresses " 0.0.0.0", address, " ")
      for (i = 1; i <= count; i++) {
        split(address[i], byte, ".")
        hex = sprintf("%02X%02X%02X%02X", byte[4], byte[3], byte[2], byte[1])  # the last number first
        ours[hex]; ours["0000000000000000FFFF0000" hex]
      }
      ours["00000000000000000000000000000000"]
    }
    $4 == "0A" { split($2, at, ":"); if (at[1] in ours) print at[2], $8, $10 }'
}

# podman_is_configured: whether podman may run for this account. Its first command creates its database, permanently,
# with the driver and the directories that it finds at that moment. A killed deploy can leave an account without configuration.
podman_is_configured() { [ -e "$HOME/.config/containers/storage.conf" ] || [ -d "$HOME/.local/share/containers" ]; }

# take_image_lock: wait until no other command builds, loads or pulls an image, and keep the others out until this shell
# ends. The orphan of a killed deploy may still be at work. podman leaves a process behind that must not inherit the
# lock: call it with 9>&-.
take_image_lock() {
  mkdir -p "$HOME/.local/share/pgberth" || return 1
  exec 9>>"$HOME/.local/share/pgberth/build.lock"
  flock 9
}

# make_image_directory: give podman a fresh TMPDIR, which is removed when this shell ends. Only the holder of the image
# lock has temporary files there, so what is there before was left by a killed command.
make_image_directory() {
  export TMPDIR="$HOME/.local/share/pgberth/tmp"
  rm -rf "$TMPDIR" && mkdir "$TMPDIR" || return 1
  trap 'rm -rf "$TMPDIR"' EXIT
}

# require_images TENANT ARGUMENT...: exit 1, with the problem, where an image that podman run would start from is missing.
require_images() {
  whose=$1
  for image in "$@"; do
    case $image in sha256:*) podman image exists "$image" && continue ;; *) continue ;; esac
    say "$whose: image $image is not in podman's store any more"
    say "HINT: run the deploy without --limit; it builds or fetches the image again"
    exit 1
  done
}

# kill_orphaned_monitor CONTAINER: podman 4 forgets a container that was killed while it was being created, but the
# container's monitor and its runtime still run.
kill_orphaned_monitor() {
  for pid in $(pgrep -u "$(id -u)" -f -- "^[^ ]*conmon .* -n $1 "); do
    pkill -KILL -P "$pid" || true
    kill -KILL "$pid" || true
  done 2>/dev/null
}

# run_container ARGUMENT...: podman run, by the OCI runtime that the machine's probe recorded. A plain user's own
# configuration may name another one, and is never edited.
run_container() {
  runtime=$(sed -n 's/^ *"runtime": "\([a-z]*\)".*/\1/p' "$HOME/.local/share/pgberth/machine.json" 2>/dev/null) || runtime=
  podman ${runtime:+--runtime "$runtime"} run "$@"
}
