# uses lib.sh
# Record what the probe found out. Runs as the service account.
# Arguments: the machine file below the home, its text, the text of containers.conf (empty where it must not change).
set -eu; umask 077
write_file "$HOME/$1" "$2"
case $3 in *runtime*) write_file "$HOME/.config/containers/containers.conf" "$3" ;; esac
