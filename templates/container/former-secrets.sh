# Remove podman's secrets of a memory plugin of an earlier release. Its container cannot come back without them.
# Argument: what their names begin with.
names=$(podman secret ls --format '{{.Name}}') || exit 1
for former in $names; do
  case $former in "$1"*) podman secret rm "$former" >/dev/null || exit 1 ;; esac
done
