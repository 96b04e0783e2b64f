# The unit's files go once nothing runs under it: it would start the container again at the next boot. Comes after stop.sh.
cd "$HOME" || exit 1
rm -f ".config/containers/systemd/pgberth-$name.container" ".config/systemd/user/$service" \
  ".config/systemd/user/default.target.wants/$service"
if [ -n "$unit" ]; then systemctl --user daemon-reload; fi
