"""Why a login let us in and then did not run our command: its shell, or its sudo."""

from __future__ import annotations

from collections.abc import Sequence

from pgberth.connectors.ssh_pool import AGAIN, Login
from pgberth.model.problems import Problem

# What sudo and sudo-rs say where they would ask; both in English, as we run them.
_ASKS = ("password is required", "authentication is required")


def not_run(login: Login, said: Sequence[str]) -> Problem:
    """
    + said: the lines that the login printed in place of the command's own output
    """
    by_sudo = [line for line in said if line.startswith(("sudo", "pgberth:"))]  # or by the shell that looks for it
    if login.sudo and (by_sudo or not said):
        return _sudo_refused(login, by_sudo[-1] if by_sudo else "")
    answer = said[-1] if said else "nothing"
    fact = f"{login.machine}: the shell of {login} ran no command of ours; it said: {answer}"
    hint = (
        f"its login shell must run `exec /bin/sh -c ...`; try by hand: {login.by_hand('exec /bin/sh -c id')}; {AGAIN}"
    )
    return Problem(fact, hint)


def _sudo_refused(login: Login, answer: str) -> Problem:
    if any(words in answer for words in _ASKS):
        fact = f"sudo of {login} asks for a password, and a run cannot answer"
    else:
        fact = f"sudo of {login} does not make it root: {answer or 'without a reason'}"
    hint = (
        f"as root there: echo '{login.user} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/pgberth; or let root log in; "
        f"try by hand: {login.by_hand('sudo -n true')}; {AGAIN}"
    )
    return Problem(f"{login.machine}: {fact}", f"nothing was touched there; {hint}")
