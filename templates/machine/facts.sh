# What this machine has, one key=value a line. Arguments: the service account.
# Changes nothing and exits 0 whatever is missing.
account=$1
if [ "$(id -u)" -eq 0 ]; then root=yes; else root=no; account=$(id -un); fi
say() { printf '%s=%s\n' "$1" "$2"; }
say root "$root"
say account "$account"
# shellcheck disable=SC1091  # os-release is every distribution's own
say distribution "$(. /etc/os-release 2>/dev/null && printf '%s' "$ID ${ID_LIKE:-}")"
say arch "$(uname -m)"
say programs "$(for program in apt-get podman newuidmap newgidmap flock setpriv timeout nsenter pgrep mmdebstrap slirp4netns pasta crun runc; do
  command -v "$program" >/dev/null 2>&1 && printf '%s ' "$program"; done)"
say podman "$(podman --version 2>/dev/null | awk '{ print $NF }')"
if [ -d /run/systemd/system ]; then say systemd yes; else say systemd no; fi
if [ -e "/var/lib/systemd/linger/$account" ]; then say linger yes; else say linger no; fi
passwd=$(getent passwd "$account" 2>/dev/null)
uid=$(printf '%s' "$passwd" | cut -d: -f3)
home=$(printf '%s' "$passwd" | cut -d: -f6)
say uid "$uid"
say home "$home"
say subuid "$(awk -F: -v a="$account" '$1 == a { n += $3 } END { print n + 0 }' /etc/subuid 2>/dev/null)"
say subgid "$(awk -F: -v a="$account" '$1 == a { n += $3 } END { print n + 0 }' /etc/subgid 2>/dev/null)"
say subnext "$(awk -F: 'BEGIN { n = 100000 } $2 + $3 > n { n = $2 + $3 } END { print n }' /etc/subuid /etc/subgid 2>/dev/null)"
say tun "$(stat -c %a /dev/net/tun 2>/dev/null)"
say root_mount "$(findmnt -no PROPAGATION / 2>/dev/null)"
say rundir "$(stat -c '%u %a' "/run/user/$uid" 2>/dev/null)"
place=${home:-/home}; [ -d "$place" ] || place=/
say free_kib "$(df -Pk "$place" 2>/dev/null | awk 'NR == 2 { print $4 }')"
say free_inodes "$(df -Pi "$place" 2>/dev/null | awk 'NR == 2 { print $4 }')"
