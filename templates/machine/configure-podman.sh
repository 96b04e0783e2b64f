# uses lib.sh
# Give the service account its podman configuration. Runs as the account. Argument: the text of containers.conf.
# A file that is there stays as it is: a plain user's own configuration is never edited.
set -eu; umask 077
mkdir -p "$HOME/.config/containers"; cd "$HOME/.config/containers"
[ -e containers.conf ] || printf '%s' "$1" | write_file containers.conf
[ -e storage.conf ] || printf '%s\n' '[storage]' 'driver = "overlay"' | write_file storage.conf
