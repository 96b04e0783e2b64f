"""Shell commands that every room yields: refusals, atomic files, scripts under a tenant's command lock."""

from __future__ import annotations

from collections.abc import Generator
from functools import cache

from pyinfra.api import QuoteString, StringCommand

from pgberth.model import layout
from pgberth.model.problems import Problem
from pgberth.model.resources import TEMPLATES

Commands = Generator[StringCommand, None, None]

_HUNG = "is the server hung? runbooks/server-does-not-start.md"
LOCK_WAIT = 60  # seconds; long enough for the orphan of a killed deploy to end


def refuse(*problems: Problem) -> StringCommand:
    """
    A command that fails with these problems on stderr.

    An exception inside an operation would stop every host of the run; a failing command stops its own.
    """
    lines = "\n".join(str(problem) for problem in problems)
    return StringCommand("printf '%s\\n'", QuoteString(lines), ">&2; exit 1")


@cache
def script(name: str) -> str:
    """A shell script below templates/, by its path there."""
    return (TEMPLATES / name).read_text()


def shell(text: str, *arguments: str, timeout: int) -> StringCommand:
    """Run a script with arguments; stdin stays free for data. Killed after `timeout` seconds."""
    quoted = [QuoteString(argument) for argument in arguments]
    return StringCommand(f"timeout -k 5 {timeout:d} /bin/sh -c", QuoteString(text), "pgberth", *quoted)


# The account may be made in the middle of a run, so that who it is is asked on the spot.
_BECOME = """entry=$(getent passwd "$1") || { echo "account '$1' does not exist on this machine" >&2; exit 1; }
IFS=: read -r name _ uid gid _ home _ <<-END
$entry
END
cd "$home" && umask 077 || exit 1
if [ "$(id -u)" -eq "$uid" ]; then become=; else become="setpriv --reuid=$uid --regid=$gid --init-groups"; fi
exec $become env -i LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \\
  "HOME=$home" "USER=$name" "LOGNAME=$name" "XDG_RUNTIME_DIR=/run/user/$uid" /bin/sh -c "$2"
"""


def as_account(account: str, command: StringCommand) -> StringCommand:
    """A command as another account, in its home, with umask 077 and an environment of its own."""
    return StringCommand("/bin/sh -c", QuoteString(_BECOME), "pgberth", QuoteString(account), QuoteString(command))


def locked(tenant: str, text: str, *arguments: str, timeout: int = 120, stdin: str = "") -> StringCommand:
    """
    Run a script that changes a tenant, under the tenant's command lock.

    The lock is the kernel's and is held by the command itself, so that the orphan of a killed deploy still
    holds it; `-o` keeps it from what the command leaves running (a container's monitor).
    """
    path = layout.lock_file(tenant)
    busy = str(
        Problem(
            f"{tenant}: another command has been working on this tenant for {LOCK_WAIT} s",
            f"see who: lslocks | grep {path}; then run the deploy again",
        )
    )
    return StringCommand(
        "umask 077; mkdir -p",
        QuoteString(path.rpartition("/")[0]),
        f"&& flock -o -w {LOCK_WAIT} -E 75",
        QuoteString(path),
        shell(text, *arguments, timeout=timeout),
        "|| { code=$?; test $code -ne 75 || printf '%s\\n'",
        QuoteString(busy),
        ">&2; test $code -ne 124 || printf '%s\\n'",
        QuoteString(f"{tenant}: a command was ended after {timeout} s without an answer\nHINT: {_HUNG}"),
        ">&2; exit $code; }",
        _stdin=stdin,
    )


_WRITE = """set -eu; umask 077
mkdir -p "$(dirname "$1")"
new="$1.new"; cat > "$new"; chmod "$2" "$new"; sync "$new"; mv -f "$new" "$1"; sync "$(dirname "$1")"
"""


def write_file(tenant: str, path: str, text: str, mode: str = "0600") -> StringCommand:
    """
    Replace a file of the tenant: old or new, never half, never readable by others on the way.

    + path: relative to the account's home
    + text: travels on stdin only; ends with a newline
    """
    return locked(tenant, _WRITE, path, mode, stdin=text)
