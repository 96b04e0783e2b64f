# uses lib.sh
# What the account has of any tenant, one `TENANT THING` a line. Runs as the service account.
# Arguments: the label of a tenant's things, the directory of all tenants, that of quadlets, that of units, what the
# names of tenants' units begin with. Exits 1 where podman cannot list them: unknown is not nothing.
label=$1 tenants=$HOME/$2 quadlets=$HOME/$3 units=$HOME/$4 prefix=$5
if command -v podman >/dev/null && podman_is_configured; then
  podman ps --all --filter "label=$label" --format "{{ index .Labels \"$label\" }} container" || exit 1
  podman volume ls --filter "label=$label" --format "{{ index .Labels \"$label\" }} volume:{{ .Name }}" || exit 1
fi
for place in "$tenants"/*/; do
  [ ! -d "$place" ] || printf '%s directory\n' "$(basename "$place")"
  ! grep -qs '^  "retired": ' "$place/spec.json" || printf '%s retired\n' "$(basename "$place")"
done
for file in "$quadlets/$prefix"*.container "$units/$prefix"*.service; do
  grep -qs '^# Written by pgberth' "$file" || continue
  name=${file##*/"$prefix"}; printf '%s unit:%s\n' "${name%.*}" "${file##*/}"
done
exit 0
