# Keep a receipt, which comes on stdin, and the newest fifty of its verb: a verify every minute must not push out what a
# deploy did. Arguments: the directory, the receipt's name, <time>-<verb>.json.
set -eu; umask 077
mkdir -p "$1"; cat > "$1/.new"; sync "$1/.new"; mv "$1/.new" "$1/$2"
cd "$1"
# Their names begin with their times: the oldest come first.
set -- ./*-"${2#*-}"
while [ "$#" -gt 50 ]; do rm -f -- "$1"; shift; done
