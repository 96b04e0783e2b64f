# Run a command, and mark where its own output begins and ends on both streams. Arguments: the run's token, the command.
# A login may speak before it and after it: a .bashrc, sudo, a message of the day. A mark never stands whole in this
# text, since some of them print the command that they are about to run.
unset LD_PRELOAD
token=$1 text=$2
mark() { printf '\036pgberth:%s:%s\037' "$1" "$token"; printf '\036pgberth:%s:%s\037' "$1" "$token" >&2; }
mark begin
(shift 2; eval "$text")
code=$?
mark end
exit "$code"
