"""One throwaway host: reached over ssh as any machine is, and past the network to look independently."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.hosts.commands import Ended, Failed, call, wait_for
from tests.hosts.keys import Keys
from tests.hosts.namespace import Podman

# More than a boot takes on a machine that is busy with other things.
_READY_SECONDS = 180
_SHUTDOWN_SECONDS = 120  # systemd itself gives what will not stop 90
_REMOVAL_SECONDS = 300
_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"

# Arguments: account, command. What a login of the account would see, and nothing of ours.
_AS_ACCOUNT = """set -eu
entry=$(getent passwd "$1") || { echo "no account $1" >&2; exit 1; }
IFS=: read -r name _ uid gid _ home shell <<END
$entry
END
cd "$home"
exec setpriv --reuid="$uid" --regid="$gid" --init-groups env -i LANG=C.UTF-8 HOME="$home" USER="$name" \\
  LOGNAME="$name" SHELL="$shell" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
  XDG_RUNTIME_DIR="/run/user/$uid" /bin/sh -c "$2"
"""

# Arguments: account, public key.
_ADMIT = """set -eu
home=$(getent passwd "$1" | cut -d: -f6)
install -d -m 0700 -o "$1" -g "$(id -g "$1")" "$home/.ssh"
printf '%s\\n' "$2" > "$home/.ssh/authorized_keys"
chown "$1:$(id -g "$1")" "$home/.ssh/authorized_keys"
chmod 0600 "$home/.ssh/authorized_keys"
"""

# All but loopback is lost without a word, both ways; each may be said twice. Argument: cut or restore.
_NETWORK = """set -eu
for rule in "INPUT ! -i lo" "OUTPUT ! -o lo"; do
  # shellcheck disable=SC2086  # words
  if iptables --wait --check $rule --jump DROP 2>/dev/null; then there=cut; else there=restore; fi
  case $1 in
  "$there") ;;
  cut) iptables --wait --insert $rule --jump DROP ;;
  restore) iptables --wait --delete $rule --jump DROP ;;
  esac
done
"""


@dataclass(frozen=True)
class Host:
    """
    A running host.

    + container: root's podman's name for it
    + address: the same over every reboot
    + booted_in: seconds from nothing to an answer over ssh

    Its files stay over reboots and power cuts, as a machine's do. Unlike a machine's, its journal does not: not only
    /run and /tmp but /var/log/journal too are new at each boot. And a power cut loses nothing that was written, synced
    or not: the kernel below lives on.
    """

    name: str
    container: str
    address: str
    podman: Podman
    keys: Keys
    booted_in: float = 0.0

    @property
    def volumes(self) -> dict[str, str]:
        """Name -> place: where podman keeps things, since it cannot lay one overlay over another."""
        return {f"{self.container}-home": "/home", f"{self.container}-root": "/var/lib/containers"}

    def ssh(
        self, command: str, user: str = "root", *, stdin: str = "", timeout: float = 30, check: bool = True
    ) -> Ended:
        """Over the network. Raises Failed when time is up, and where the command or ssh fails unless `check` is off."""
        return call(*self.ssh_command(command, user, connect=timeout), stdin=stdin, timeout=timeout + 5, check=check)

    def ssh_command(self, command: str, user: str = "root", connect: float = 30) -> list[str]:
        """The same, to be started otherwise; nothing of the caller's own ssh configuration counts."""
        options = {
            "IdentityFile": self.keys.private,
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": self.keys.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "ConnectTimeout": max(1, int(connect)),
        }
        given = (word for name, value in options.items() for word in ("-o", f"{name}={value}"))
        return ["ssh", "-F", "none", *given, f"{user}@{self.address}", command]

    def machine_fields(self, user: str = "root") -> dict[str, str]:
        """What an inventory says of this machine: machine("db1", **host.machine_fields())."""
        return {
            "ssh_hostname": self.address,
            "ssh_user": user,
            "ssh_key": str(self.keys.private),
            "ssh_known_hosts_file": str(self.keys.known_hosts),
        }

    def run(
        self, command: str, user: str = "root", *, stdin: str = "", timeout: float = 180, check: bool = True
    ) -> Ended:
        """Past the network, without a login: for preparing, and for looking with other eyes than the product's."""
        inside = self.podman.command("exec", "--interactive", self.container)
        script = ["/bin/sh", "-c", _AS_ACCOUNT, "sh", user, command]
        return call(*inside, *script, stdin=stdin, timeout=timeout, check=check)

    def admit(self, user: str = "root") -> None:
        """Let the run's key open this account."""
        self._script(_ADMIT, user, self.keys.public)

    def reboot(self) -> float:
        """Shut down and boot again. Seconds until ssh answers; the network is whole again."""
        return self._booted("restart", f"--time={_SHUTDOWN_SECONDS}")

    def power_off(self) -> None:
        """Pull the plug: every process is gone at once, none is asked."""
        self.podman("kill", "--signal=KILL", self.container)
        self.podman("wait", "--interval=50ms", self.container)

    def power_on(self) -> float:
        """Seconds until ssh answers; the network is whole again."""
        return self._booted("start")

    def cut_network(self) -> None:
        """The host falls silent: no refusal, no reset, as behind a dead line. Until restored, or booted again."""
        self._network("cut")

    def restore_network(self) -> None:
        """Open connections go on where they were, if they have not been given up."""
        self._network("restore")

    def destroy(self) -> None:
        """Nothing of it is left."""
        self.remove()
        self.keys.invalidate(self.address)

    def remove(self) -> None:
        """Its container and files are gone. On a busy disk the thousands of files take a minute."""
        self.podman("rm", "--force", "--ignore", "--time=0", self.container, timeout=_REMOVAL_SECONDS)
        self.podman("volume", "rm", "--force", *self.volumes, timeout=_REMOVAL_SECONDS)

    def ready(self) -> None:
        """systemd has started everything, and the sshd that answers is this host's. Raises Failed with what is not."""
        try:
            wait_for(f"systemd of {self.name}", self._systemd, _READY_SECONDS)
            wait_for(f"sshd of {self.name} at {self.address}", self._sshd, _READY_SECONDS)
        except Failed as failed:
            journal = self.run("journalctl --no-pager --boot --lines=30", check=False).said
            raise Failed(f"{failed}\n{journal}") from failed
        self.keys.know(self.address, self.run(f"cat {_HOST_KEY}").out)

    def _booted(self, *act: str) -> float:
        started = time.monotonic()
        self.podman(*act, self.container, timeout=_SHUTDOWN_SECONDS + 30)
        self.ready()
        return time.monotonic() - started

    def _systemd(self) -> str:
        said = self.run("systemctl is-system-running", check=False).said.strip()
        # "degraded": a unit failed. Whose fault that is, is not ours to say: a test may have planted it.
        return "" if said in ("running", "degraded") else said or "no answer"

    def _sshd(self) -> str:
        try:
            with socket.create_connection((self.address, 22), timeout=5) as line:
                said = line.recv(64)
        except OSError as error:
            return str(error)
        return "" if said.startswith(b"SSH-2.0-") else f"said {said!r}"

    def _network(self, act: str) -> None:
        pid = self.podman("container", "inspect", "--format={{.State.Pid}}", self.container).out.strip()
        if pid == "0":
            raise Failed(f"{self.name} is powered off: it has no network")
        call("nsenter", f"--target={pid}", "--net", "--", "sh", "-c", _NETWORK, "sh", act, unbroken=True)

    def _script(self, text: str, *arguments: str) -> Ended:
        return call(*self.podman.command("exec", self.container, "/bin/sh", "-c", text, "sh", *arguments))


Boot = Callable[..., Host]
