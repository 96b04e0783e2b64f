# Run a program that changes the machine's accounts, once nobody else does. Arguments: it and its own.
# What such a program locked and left locked when it was killed is opened: by itself the next one opens it only where its
# number is nobody's by now, and not where a zombie or another program has it.
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
      echo "HINT: wait until it has ended, or end it, and run the deploy again; runbooks/machine-is-not-fit.md" >&2
      exit 1
    fi
    sleep 0.2
  done
done
exec "$@"
