"""Why a tenant cannot be worked with at all, as far as one observation shows it."""

from __future__ import annotations

from pgberth.container.state import TenantState
from pgberth.model import diagnosis
from pgberth.model.problems import Problem


def outage(name: str, port: int, observed: TenantState) -> Problem | None:
    """
    The fault that keeps clients out, None where there is none.

    + port: on which the running server is published
    """
    if not observed.ready:
        return Problem(f"{name}: its machine is not ready for tenants", "run deploy/provision.py without --limit")
    if observed.running and observed.container is not None:
        return _of_a_running_container(name, port, observed, observed.container.unreachable)
    if observed.container is not None:
        fact = f"{name}: its container is {observed.container.status} (exit code {observed.container.exit_code})"
        return Problem(fact, f"run deploy/provision.py --limit {name}, which starts it")
    if observed.spec.retired:
        fact = f"{name}: it was retired on {observed.spec.retired}, and its data is kept"
        return Problem(fact, f"run deploy/provision.py --limit {name} to bring it back, or take its line out")
    return Problem(f"{name}: it has no container", f"run deploy/provision.py --limit {name}")


def _of_a_running_container(name: str, port: int, observed: TenantState, unreachable: str) -> Problem | None:
    if unreachable:
        fact = f"{name}: its container runs, and nobody can reach port {port}: {unreachable}"
        act = f"run deploy/provision.py --limit {name}, which creates the container again on its volume"
        return Problem(fact, f"{act}; {diagnosis.UNREACHABLE.page}")
    if observed.answer is not None:
        return None
    if not observed.server_error:
        fact = f"{name}: its server does not answer: it said nothing for 30 s"
        return Problem(fact, diagnosis.UNKNOWN.page)
    return diagnosis.problem(name, observed.server_error, activity=observed.activity)
