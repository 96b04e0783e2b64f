# Of each kind keep one secret, the one named here; older versions of it go. Arguments: the directory, the files' names.
set -eu; cd "$HOME/$1"; shift
for keep in "$@"; do
  for name in "${keep%-v*}"-v*; do [ "$name" = "$keep" ] || rm -f -- "$name"; done
done
sync .
