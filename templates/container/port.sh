# uses lib.sh
# Print who listens on a port of loopback, and which ports are taken. Changes nothing, and exits 0.
# Arguments: the port, the directory of all tenants, an address beside loopback or "", and "there" where only that
# address counts: on loopback the tenant has that port itself.
# Prints `nowhere` where that is none of this machine's, `by WORDS` where somebody listens, then `taken PORT` for each port
# with a listener or in a tenant's spec file.
port=$1 tenants=$2 address=${3:-} only=${4:-}
if [ -n "$address" ]; then
  awk -v a="$address" '$1 == "|--" { at = $2 } /host LOCAL/ && at == a { found = 1 } END { exit !found }' \
    /proc/net/fib_trie 2>/dev/null || echo nowhere
fi
listeners=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" { n = split($2, at, ":"); print at[n], $8, $10, at[1] }')
hex=$(printf %04X "$port")
# As /proc/net/tcp has it: the last number first.
place=$(printf '%s\n' "$address" | awk -F. '{ printf "%02X%02X%02X%02X", $4, $3, $2, $1 }')
spec_port() { sed -n 's/^ *"port": \([0-9]*\).*/\1/p' "$1" 2>/dev/null; }
name_of() { getent passwd "$1" | cut -d: -f1; }

printf '%s\n' "$listeners" | while read -r at uid inode where; do
  [ "$at" = "$hex" ] || continue
  [ -z "$only" ] || case $where in "$place" | 00000000 | 00000000000000000000000000000000) ;; *) continue ;; esac
  for spec in "$tenants"/*/spec.json; do
    [ "$uid" = "$(id -u)" ] && [ "$(spec_port "$spec")" = "$port" ] || continue
    tenant=${spec%/spec.json}; printf 'by tenant %s of this account\n' "${tenant##*/}"; exit
  done
  owner=$(process_of_socket "$inode")
  printf 'by %s\n' "${owner:-a process of uid $uid ($(name_of "$uid"))}"; exit
done
for at in $(printf '%s\n' "$listeners" | cut -d' ' -f1 | sort -u); do printf 'taken %d\n' "0x$at"; done
for spec in "$tenants"/*/spec.json; do [ ! -f "$spec" ] || printf 'taken %s\n' "$(spec_port "$spec")"; done
exit 0
