# Replace several files at once. Every new text is whole on the disk before the first file is replaced.
# Arguments: path, mode and size in bytes of each file. On standard input: their texts, one after the other.
# A new tenant gets nine files, so this starts few processes and waits for the disk twice. The texts do not pass through
# shell variables: cutting up a long one there takes half a minute.
set -eu; umask 077
path='' mode=''
for word in "$@"; do
  shift
  if [ -z "$path" ]; then path=$word; continue; fi
  if [ -z "$mode" ]; then mode=$word; continue; fi
  case $path in /*) ;; *) path=./$path ;; esac
  [ -d "${path%/*}" ] || mkdir -p "${path%/*}"
  head -c "$word" > "$path.new"; [ "$mode" = 0600 ] || chmod "$mode" "$path.new"
  set -- "$@" "$path.new"; path='' mode=''
done
sync "$@"
for new in "$@"; do mv -f "$new" "${new%.new}"; shift; set -- "$@" "${new%/*}"; done
sync "$@"
