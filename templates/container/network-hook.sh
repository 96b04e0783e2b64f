#!/bin/sh
# An OCI hook of a memory plugin: behind the one address where slirp4netns has the whole loopback of the machine, it
# reaches its server's port and nothing else. It fails, and the container with it, where that cannot be enforced.
# Arguments: that address, the port. On stdin: the container's state, as the OCI runtime writes it.
set -eu
PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
pid=$(sed -n 's/.*"pid": *\([0-9][0-9]*\).*/\1/p')
# TCP and UDP by their numbers: a machine need not have the file of their names.
nsenter -t "$pid" -n ip rule add pref 100 to "$1" ipproto 6 dport "$2" lookup main
# By protocol: slirp4netns only carries these two, and could not set its default route through an address that is closed.
nsenter -t "$pid" -n ip rule add pref 101 to "$1" ipproto 6 prohibit
nsenter -t "$pid" -n ip rule add pref 102 to "$1" ipproto 17 prohibit
