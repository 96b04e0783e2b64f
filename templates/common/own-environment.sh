# Run a command in an environment of ours. Argument: the command.
# Of what the login's shell has exported only its home, its name and its proxies count: a language, a CDPATH or a PATH of
# its own would change what programs print, and which they are.
exec env -i LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  "HOME=$HOME" "USER=$USER" "LOGNAME=$LOGNAME" ${http_proxy:+"http_proxy=$http_proxy"} \
  ${https_proxy:+"https_proxy=$https_proxy"} ${no_proxy:+"no_proxy=$no_proxy"} /bin/sh -c "$1"
