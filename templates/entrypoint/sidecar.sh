#!/bin/sh
# Runs a tenant's memory plugin in its container, and again with another password after SIGHUP: the container stays.
# Arguments: the plugin's command. Written by pgberth. It needs the shell and no other program.
set -u
file=/run/secrets/memory_plugin_database_url

# run COMMAND...: the plugin, in a process of its own. That process reads the file: a signal that it does not notice came
# before it read, and after the file was written.
run() {
  { IFS= read -r MEMORY_PLUGIN_DATABASE_URL <"$file"; } 2>/dev/null && [ -n "$MEMORY_PLUGIN_DATABASE_URL" ] || {
    printf 'pgberth: %s cannot be read, or is empty\n' "$file" >&2
    exit 78
  }
  export MEMORY_PLUGIN_DATABASE_URL
  exec "$@"
}

# A signal is remembered, whenever it comes, and passed on where the plugin's process is known.
plugin='' again='' ending='' signalled=''
pass_on() { signalled=yes; [ -z "$plugin" ] || kill "$plugin" 2>/dev/null; }
trap 'again=yes; pass_on' HUP
trap 'ending=yes; pass_on' TERM INT

# finish: wait until the plugin has ended; its exit code is in `code`. A signal ends the shell's `wait` early.
finish() {
  code=127
  while :; do
    signalled=''
    wait "$plugin"
    now=$?
    [ "$now" -ne 127 ] || break # the wait before had its end
    code=$now
    [ -n "$signalled" ] || break
  done
  plugin=''
}

while [ -z "$ending" ]; do
  again=''
  run "$@" &
  plugin=$!
  # A signal that came before the process was known. KILL: a process so young may still lose any other signal.
  [ -z "$again$ending" ] || kill -KILL "$plugin" 2>/dev/null
  finish
  [ -n "$again$ending" ] || exit "$code"
done
