# uses lib.sh
# Print who listens where a tenant's server would, and which ports are taken there. Changes nothing, and exits 0.
# Arguments: the port, the directory of all tenants, an address beside loopback or "", and "there" where only that
# address counts: on loopback the tenant has that port itself.
# Prints `nowhere` where that is none of this machine's, `by WORDS` where somebody listens, then `taken PORT` for each port
# with a listener or in a tenant's spec file. A listener on another address, such as 127.0.0.2, takes nothing from it.
port=$1 tenants=$2 address=${3:-} only=${4:-}
if [ -n "$address" ]; then
  awk -v a="$address" '$1 == "|--" { at = $2 } /host LOCAL/ && at == a { found = 1 } END { exit !found }' \
    /proc/net/fib_trie 2>/dev/null || echo nowhere
fi
hex=$(printf %04X "$port")
if [ -n "$only" ]; then found=$(listeners "$address"); else found=$(listeners 127.0.0.1 "$address"); fi
spec_port() { sed -n 's/^ *"port": \([0-9]*\).*/\1/p' "$1" 2>/dev/null; }
name_of() { getent passwd "$1" | cut -d: -f1; }

printf '%s\n' "$found" | while read -r at uid inode; do
  [ "$at" = "$hex" ] || continue
  for spec in "$tenants"/*/spec.json; do
    [ "$uid" = "$(id -u)" ] && [ "$(spec_port "$spec")" = "$port" ] || continue
    tenant=${spec%/spec.json}; printf 'by tenant %s of this account\n' "${tenant##*/}"; exit
  done
  owner=$(process_of_socket "$inode")
  printf 'by %s\n' "${owner:-a process of uid $uid ($(name_of "$uid"))}"; exit
done
for at in $(printf '%s\n' "$found" | cut -d' ' -f1 | sort -u); do printf 'taken %d\n' "0x$at"; done
for spec in "$tenants"/*/spec.json; do [ ! -f "$spec" ] || printf 'taken %s\n' "$(spec_port "$spec")"; done
exit 0
