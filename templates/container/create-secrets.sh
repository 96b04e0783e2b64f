# Create the secrets that are missing, from the kernel's randomness: a new secret travels nowhere.
# 24 bytes are 32 letters of base64url, which nothing needs to quote. Arguments: the directory, the files' names.
set -eu; umask 077
mkdir -p "$HOME/$1"
{ chmod 700 "$HOME/$1" 2>/dev/null && cd "$HOME/$1"; } || {
  echo "the directory of its passwords, ~/$1, cannot be entered" >&2
  echo "HINT: nothing was created; give it back to this account: ls -ld ~/$1; runbooks/secret-missing.md" >&2
  exit 1
}
shift
for name in "$@"; do
  [ ! -s "$name" ] || continue
  head -c 24 /dev/urandom | base64 | tr '+/' '-_' > ".$name.new"
  sync ".$name.new"; mv ".$name.new" "$name"
done
sync .
