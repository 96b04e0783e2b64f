# Wait until no other program changes the machine's accounts, then run one that does. Arguments: the program and its own.
# A killed program leaves its lock files behind, and this removes them. The next program would remove them itself only where
# no process has the recorded pid, but not where a zombie or an unrelated program has it.
etc=${PGBERTH_ETC:-/etc} seconds=${PGBERTH_PATIENCE:-20}
busy() {
  comm=$(cat "/proc/$1/comm" 2>/dev/null) || return 1
  case $(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) in Z|X|'') return 1 ;; esac
  case $comm in
    useradd|usermod|userdel|groupadd|groupmod|groupdel|groupmems|gpasswd|newusers|chgpasswd|chpasswd) return 0 ;;
    passwd|chage|chfn|chsh|vipw|vigr|pwck|grpck|pwconv|pwunconv|grpconv|grpunconv|adduser|deluser|addgroup) return 0 ;;
    systemd-sysuser*) return 0 ;;
  esac
  return 1
}
for file in passwd shadow group gshadow subuid subgid; do
  lock=$etc/$file.lock left=$((seconds * 5))
  while [ -e "$lock" ]; do
    pid=$(tr -dc 0-9 < "$lock" 2>/dev/null)
    if ! busy "${pid:-none}"; then rm -f "$lock"; break; fi
    left=$((left - 1))
    if [ "$left" -lt 0 ]; then
      echo "$lock has been held for $seconds s by pid $pid ($comm)" >&2
      echo "HINT: wait until it ends, or stop it, and run the deploy again; runbooks/machine-is-not-fit.md" >&2
      exit 1
    fi
    sleep 0.2
  done
done
exec "$@"
