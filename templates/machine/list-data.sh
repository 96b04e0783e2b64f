# uses lib.sh
# The tenants that have a volume here, one a line, with a doublet for each further volume. Runs as the service account.
# Argument: the label of a tenant's things.
set -eu
podman_is_configured || exit 0
names=$(podman volume ls --quiet --filter "label=$1")
printf '%s\n' "$names" | sed -n 's/-data-g[0-9]*$//p'
