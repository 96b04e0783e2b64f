# Functions that several scripts need. A script whose first line is `# uses lib.sh` is sent with this file before it.

# write_file FILE TEXT: replace the file. After a crash it holds the old text or the new one, never half of it.
write_file() {
  case $1 in */*) [ -d "${1%/*}" ] || mkdir -p "${1%/*}" || return 1 ;; esac
  printf '%s' "$2" > "$1.new" && sync "$1.new" && mv -f "$1.new" "$1"
}

# podman_is_configured: whether podman may run for this account. Its first command creates its database, with the driver
# and the directories that it finds at that moment, for good. A killed deploy can leave an account without configuration.
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
