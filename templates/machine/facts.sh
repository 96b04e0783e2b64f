# Print what this machine has, one key=value a line. Arguments: the service account, the time on the control machine.
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
say podman "$(podman --version 2>/dev/null | awk '{ print $NF }')" &  # half the time of all facts, so beside the others
offered=; command -v podman >/dev/null 2>&1 || offered=$(apt-cache policy podman 2>/dev/null | awk '$1 == "Candidate:" { print $2 }')
say podman_offered "$offered"
if [ -d /run/systemd/system ]; then say systemd yes; else say systemd no; fi
if [ -e "/var/lib/systemd/linger/$account" ]; then say linger yes; else say linger no; fi
passwd=$(getent passwd "$account" 2>/dev/null)
uid=$(printf '%s' "$passwd" | cut -d: -f3)
home=$(printf '%s' "$passwd" | cut -d: -f6)
say uid "$uid"
say home "$home"
if [ -z "$uid" ] || [ "$(stat -c %u "$home" 2>/dev/null)" = "$uid" ]; then say has_home yes; else say has_home no; fi
podman=$home/.config/containers
if [ -e "$podman/storage.conf" ] && [ -e "$podman/containers.conf" ]; then say configured yes; else say configured no; fi
# These files name an account by its name or its number.
count() { awk -F: -v a="$account" -v u="$uid" '$1 == a || (u != "" && $1 == u) { n += $3 } END { print n + 0 }' "$1" 2>/dev/null; }
say subuid "$(count /etc/subuid)"
say subgid "$(count /etc/subgid)"
overlapping() { awk -F: -v a="$account" -v u="$uid" '
  $1 == a || (u != "" && $1 == u) { ours[++n] = $2; ends[n] = $2 + $3; next }
  NF == 3 { who[++m] = $1; from[m] = $2; to[m] = $2 + $3 }
  END { for (i = 1; i <= n; i++) for (j = 1; j <= m; j++) if (from[j] < ends[i] && ours[i] < to[j]) printf "%s ", who[j] }' "$1" 2>/dev/null; }
say overlaps "$(overlapping /etc/subuid)$(overlapping /etc/subgid)"
say next_subid "$(awk -F: 'BEGIN { n = 100000 } $2 + $3 > n { n = $2 + $3 } END { print n }' /etc/subuid /etc/subgid 2>/dev/null)"
say tun "$(stat -c %a /dev/net/tun 2>/dev/null)"
say root_mount "$(findmnt -no PROPAGATION / 2>/dev/null)"
say rundir "$(stat -c '%u %a' "/run/user/$uid" 2>/dev/null)"
place=${home:-/home}; while [ ! -d "$place" ]; do place=${place%/*}; [ -n "$place" ] || place=/; done
say free_kib "$(df -Pk "$place" 2>/dev/null | awk 'NR == 2 { print $4 }')"
say free_inodes "$(df -Pi "$place" 2>/dev/null | awk 'NR == 2 { print $4 }')"
say clock_ahead $(($(date +%s) - $2))
wait
