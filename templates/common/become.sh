# Run a command as another account: in its home, with umask 077 and nothing of the caller's environment.
# Arguments: the account, the command's text.
# The account may be created in the middle of a run, so its entry is read here and not before.
entry=$(getent passwd "$1") || { echo "account '$1' does not exist on this machine" >&2; exit 1; }
IFS=: read -r name _ uid gid _ home _ <<-END
$entry
END
cd "$home" && umask 077 || exit 1
if [ "$(id -u)" -eq "$uid" ]; then become=; else become="setpriv --reuid=$uid --regid=$gid --init-groups"; fi
exec $become env -i LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
  "HOME=$home" "USER=$name" "LOGNAME=$name" "XDG_RUNTIME_DIR=/run/user/$uid" /bin/sh -c "$2"
