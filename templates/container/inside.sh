# Run a shell script inside the container, with the image's own clients by their plain names, as the superuser on the socket.
# The script comes on stdin. Arguments: the container, bindir.
set -eu
exec podman exec -i --env "PATH=$2:/usr/bin:/bin" --env PGHOST=/run/postgresql --env PGUSER=postgres "$1" /bin/sh -s
