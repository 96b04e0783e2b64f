# uses lib.sh
# Give the service account its podman configuration. Runs as the account. Argument: the text of containers.conf.
# A file that is there stays as it is: a plain user's own configuration is never edited.
set -eu; umask 077
mkdir -p "$HOME/.config/containers"; cd "$HOME/.config/containers"
[ -e containers.conf ] || write_file containers.conf "$1"
[ -e storage.conf ] || write_file storage.conf '[storage]
driver = "overlay"
'
