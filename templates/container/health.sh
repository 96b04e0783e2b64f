# The first line of what a memory plugin on a port of loopback answers to GET /v1/health; nothing where it does not.
# Not by curl or wget: a machine need not have them, and podman's helpers accept before the plugin does.
health() {
  # shellcheck disable=SC2016  # bash's own
  timeout 3 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "GET /v1/health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n" >&3 &&
    IFS= read -r line <&3 && printf "%s\n" "${line%?}"' "$1" 2>/dev/null
}
