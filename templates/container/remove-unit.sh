# Remove a unit's files after its service has stopped: systemd would start the container again at the next boot. Comes after
# stop.sh.
cd "$HOME" || exit 1
# shellcheck disable=SC2154  # stop.sh sets name and service
rm -f ".config/containers/systemd/pgberth-$name.container" ".config/systemd/user/$service" \
  ".config/systemd/user/default.target.wants/$service"
# shellcheck disable=SC2154  # stop.sh sets it
if [ -n "$unit" ]; then systemctl --user daemon-reload; fi
