# uses lib.sh
# Write a running tenant's systemd unit; nothing is started or stopped. The text comes on stdin.
# Arguments: the unit's file, its link or "", files that should not be there.
set -eu
write_file "$1"
[ -z "$2" ] || { mkdir -p "${2%/*}"; ln -sf "../${1##*/}" "$2"; }
shift 2; rm -f "$@"
systemctl --user daemon-reload
