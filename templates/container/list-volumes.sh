# The tenant's volumes, newest first: name, a blank, what its marker holds. A volume without a marker never held data.
# Arguments: the tenant, the marker's path in a volume.
names=$(podman volume ls --filter "label=pgberth.tenant=$1" --format '{{.Name}}') || exit 1
for name in $(printf '%s' "$names" | sort -Vr); do
  place=$(podman volume inspect --format '{{.Mountpoint}}' "$name")
  printf '%s %s\n' "$name" "$(cat "$place/$2" 2>/dev/null)"
done
