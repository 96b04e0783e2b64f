# Keep a receipt, which comes on stdin, and the newest fifty of its verb: a verify every minute must not push out what a
# deploy did. Arguments: the directory, the receipt's name, <time>-<verb>.json.
set -eu; umask 077
mkdir -p "$1"; cat > "$1/.new"; sync "$1/.new"; mv "$1/.new" "$1/$2"
ls -1 "$1" | grep -e "-${2#*-}\$" | sort -r | tail -n +51 | while read -r old; do rm -f -- "$1/$old"; done
