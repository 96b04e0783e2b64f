#!/bin/sh
# Runs a tenant's memory plugin in its container, and again with another password after SIGHUP: the container stays.
# Arguments: the plugin's command. Written by pgberth. It needs the shell and no other program.
set -u
file=/run/secrets/memory_plugin_database_url

start() {
  { IFS= read -r url <"$file"; } 2>/dev/null && [ -n "$url" ] || {
    printf 'pgberth: %s cannot be read, or is empty\n' "$file" >&2
    exit 78
  }
  MEMORY_PLUGIN_DATABASE_URL=$url "$@" &
  plugin=$!
  unset url
}

plugin='' again=''
trap 'again=yes; kill "$plugin" 2>/dev/null' HUP
trap 'again=; kill "$plugin" 2>/dev/null' TERM INT
start "$@"
while :; do
  wait "$plugin"
  code=$?
  ! kill -0 "$plugin" 2>/dev/null || continue # a signal ended the wait; the plugin is about to end
  [ -n "$again" ] || exit "$code"
  again=''
  start "$@"
done
