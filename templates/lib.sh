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

# with_a_place FUNCTION: call it, and again while connections that have not logged in hold all of a server's places, or one
# transaction holds all of its locks. The server ends each of the former after five seconds, and the latter may end by
# itself. The function leaves in `answer` what the server said.
with_a_place() {
  waits=0 answer=
  until "$@"; do
    failed=$?
    case $answer in *'sorry, too many clients already'* | *'FATAL:  out of shared memory'*) ;; *) return "$failed" ;; esac
    [ "$waits" -lt 40 ] || return "$failed"
    waits=$((waits + 1)); sleep 0.3
  done
}

# run_container ARGUMENT...: podman run, by the OCI runtime that the machine's probe recorded, with the OCI hooks of the
# directory $hooks. A plain user's own configuration may name another runtime, and is never edited.
run_container() {
  runtime=$(sed -n 's/^ *"runtime": "\([a-z]*\)".*/\1/p' "$HOME/.local/share/pgberth/machine.json" 2>/dev/null) || runtime=
  podman ${runtime:+--runtime "$runtime"} ${hooks:+"--hooks-dir=$hooks"} run "$@"
}

# place_of_volume VOLUME: print the directory that holds a volume's data. podman is asked only where it cannot be known:
# its question takes a fiftieth of a new tenant's time.
place_of_volume() {
  volumes=$(sed -n 's/^ *"volumes": "\(.*\)",*$/\1/p' "$HOME/.local/share/pgberth/machine.json" 2>/dev/null)
  if [ -n "$volumes" ] && [ -d "$volumes/$1/_data" ]; then printf '%s\n' "$volumes/$1/_data"; return; fi
  podman volume inspect --format '{{ .Mountpoint }}' "$1" 2>/dev/null
}

# marker_field NAME FILE: print a field of a marker; nothing where there is none.
marker_field() { sed -n 's/.*"'"$1"'" *: *"\{0,1\}\([^",}]*\).*/\1/p' "$2" 2>/dev/null | head -n 1; }

# words_of FILE: print the beginning of a file as one line of plain text.
words_of() { head -c 300 "$1" 2>/dev/null | tr '\n' ' ' | LC_ALL=C tr -cd '\040-\176'; }

# foreign_data TENANT VOLUME DIRECTORY: print why what the volume holds is not shown to be the tenant's data; nothing where
# it is. A tenant's volume has a marker with its name and the volume's generation, and the cluster whose system identifier
# the marker has. The identifier is the first eight bytes of the cluster's control file. The host
# and a container follow a link to different places, so that nothing is known of what is behind it.
foreign_data() {
  found=$3/pgberth.initialised
  if ! ls "$3/" >/dev/null 2>&1; then echo 'cannot be read'; return; fi
  if [ -L "$found" ]; then echo 'has a link in the place of its marker'; return; fi
  if [ ! -e "$found" ]; then echo 'has no marker'; return; fi
  if [ ! -f "$found" ] || [ ! -r "$found" ]; then echo 'has a marker that cannot be read'; return; fi
  owner=$(marker_field tenant "$found") generation=$(marker_field generation "$found")
  major=$(marker_field major "$found") system=$(marker_field system_identifier "$found")
  if [ -n "$owner" ] && [ "$owner" != "$1" ]; then echo "was initialised for another: $(words_of "$found")"; return; fi
  for field in "$generation" "$major" "$system"; do
    case $field in '' | *[!0-9]*) owner= ;; esac
  done
  if [ -z "$owner" ]; then echo "has a marker that is not understood: $(words_of "$found")"; return; fi
  if [ "$generation" != "${2##*-g}" ]; then echo "has the marker of generation $generation"; return; fi
  for part in "$3/$major" "$3/$major/data" "$3/$major/data/global" "$3/$major/data/global/pg_control"; do
    if [ -L "$part" ]; then echo "has a link in the place of ${part#"$3"/}"; return; fi
  done
  holds=$(od -An -v -tu8 -N8 "$3/$major/data/global/pg_control" 2>/dev/null | tr -d ' ')
  if [ -z "$holds" ]; then echo "has a marker, and no cluster that can be read in $major/data"; return; fi
  [ "$holds" = "$system" ] || echo "holds the cluster $holds, and its marker names $system"
}

# unmarked_data TENANT GENERATION DIRECTORY: print what a volume without a marker holds: nothing; `begun`, an initialisation
# that was killed; or `data`, whatever else.
# Begun is what init.sh alone makes: its note that names tenant and generation, and beside it one data directory in which
# no server was ever started, since a server writes postmaster.opts at its first start. The note is gone before a volume
# has its marker, and the guard starts no server without one. So nobody has written to such a cluster, and it may be
# made again. The alternative, to leave it and take the next generation, would fill the disk where an initialisation
# fails for want of space and a timer runs the deploy again.
unmarked_data() {
  note=$3/pgberth.initialising
  entries=$(ls -A "$3/" 2>/dev/null) || { echo data; return; }
  others=$(printf '%s\n' "$entries" | grep -vx 'pgberth\.initialising\(\.new\)\{0,1\}' || true)
  for part in "$note" "$note.new"; do
    if [ -L "$part" ] || { [ -e "$part" ] && [ ! -f "$part" ]; }; then echo data; return; fi
  done
  # A note without a data directory may be cut short: initdb starts after it is on the disk.
  [ -n "$others" ] || { [ -z "$entries" ] || echo begun; return; }
  case $others in *[!0-9]*) echo data; return ;; esac
  case $(words_of "$note") in '{"tenant": "'"$1"'", "generation": '"$2"[,'}']*) ;; *) echo data; return ;; esac
  inside=$(ls -A "$3/$others/" 2>/dev/null) || { echo data; return; }
  case $inside in data | '') ;; *) echo data; return ;; esac
  for part in "$3/$others" "$3/$others/data"; do [ ! -L "$part" ] || { echo data; return; }; done
  for part in postmaster.opts backup_label recovery.signal standby.signal; do
    [ ! -e "$3/$others/data/$part" ] || { echo data; return; }
  done
  echo begun
}
