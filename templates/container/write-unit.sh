# Write a running tenant's systemd unit; nothing is started or stopped. The text comes on stdin.
# Arguments: the unit's file, its link or "", files that should not be there.
set -eu
mkdir -p "${1%/*}"; cat > "$1.new"; sync "$1.new"; mv -f "$1.new" "$1"
[ -z "$2" ] || { mkdir -p "${2%/*}"; ln -sf "../${1##*/}" "$2"; }
shift 2; rm -f "$@"
systemctl --user daemon-reload
