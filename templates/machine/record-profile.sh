# uses lib.sh
# Record what the probe found out. Runs as the service account.
# Arguments: the machine file below the home, its text, the text of containers.conf (empty where it must not change).
set -eu; umask 077
printf '%s' "$2" | write_file "$HOME/$1"
case $3 in *runtime*) printf '%s' "$3" | write_file "$HOME/.config/containers/containers.conf" ;; esac
