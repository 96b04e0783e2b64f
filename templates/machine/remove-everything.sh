# Remove all that the bundle made for this account: containers, secrets, volumes, images, files. Runs as the account.
# Arguments: the label of a tenant's things, the bundle's directory below the home.
# The files with the passwords go last: without them a volume that could not be removed would be of no use.
set -eu
podman ps --all --quiet --filter "label=$1" | xargs -r podman rm --force --time 10 >/dev/null
podman secret ls --format '{{.Name}}' | sed -n '/^pgberth_/p' | xargs -r podman secret rm >/dev/null
podman volume ls --quiet --filter "label=$1" | xargs -r podman volume rm --force >/dev/null
for ours in label=pgberth.recipe reference=localhost/pgberth-archive reference=localhost/pgberth-registry; do
  podman image ls --quiet --filter "$ours" | sort -u | xargs -r podman image rm --force >/dev/null
done
rm -rf -- "${HOME:?}/${2:?}"
