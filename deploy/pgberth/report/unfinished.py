"""What became of the hosts that did not get to the end of a run: each is named, with where it ended and why."""

from __future__ import annotations

from typing import Any

from pgberth.inventory.declare import DECLARED
from pgberth.report.receipt import Receipt, current_report

NOT_REACHED = "NOT REACHED"


def account_for(verb: str, state: Any, host: Any) -> None:
    """Tell of a failed host in the closing report; of a tenant too that pyinfra dropped before its first operation."""
    report = current_report()
    tenant, why = declared_tenant(host), ended(state, host)
    if tenant is None:
        report.notes.append(f"{host.name}: {why}")
        return
    receipt = report.receipts.get(host.name)
    if receipt is None:
        port = tenant.get("port", "-")
        receipt = report.receipts[host.name] = Receipt(verb, host.name, rings(state, host), port, state=NOT_REACHED)
    if not receipt.failed_checks:
        receipt.notes.insert(0, why)


def declared_tenant(host: Any) -> dict[str, Any] | None:
    """The fields of the tenant's inventory line, which nobody may have judged yet; None where the host is none."""
    lines = (value for key, value in host.data.dict().items() if key.startswith(DECLARED))
    return next((line[2] for line in lines if line[0] == "tenant"), None)


def rings(state: Any, host: Any) -> tuple[str, ...]:
    """The host's groups, but for pyinfra's own and those that hold everybody."""
    groups = {group: set(state.inventory.get_group(group)) for group in host.groups if not group.startswith("@")}
    return tuple(group for group, members in groups.items() if members < set(state.inventory))


def ended(state: Any, host: Any) -> str:
    """Where the host's run ended and why: "not finished: container runs: port 5501 is taken"."""
    gone = getattr(host.connector, "problem", None)
    done = [key for key in host.op_hash_order if state.ops[host][key].operation_meta.is_complete()]
    if not done:
        return gone.fact.removeprefix(f"{host.name}: ") if gone is not None else "not finished; see above"
    # It ran no further, so that the last is the one that failed.
    stderr = [line for line in state.ops[host][done[-1]].operation_meta.stderr_lines if line.strip()]
    said = gone.fact if gone is not None else next(iter(stderr), "see above")
    step = ", ".join(sorted(state.get_op_meta(done[-1]).names))
    return f"not finished: {step}: {said.removeprefix(f'{host.name}: ')}"
