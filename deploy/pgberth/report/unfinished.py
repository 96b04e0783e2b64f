"""Reports the hosts that did not finish a run: each by name, with the step where it ended and the reason."""

from __future__ import annotations

from typing import Any

from pgberth.inventory.declare import DECLARED
from pgberth.report.receipt import Receipt, current_report

UNREACHABLE = "UNREACHABLE"


def report_failed(verb: str, state: Any, host: Any) -> None:
    """Add a failed host to the closing report, also a tenant that pyinfra dropped before its first operation."""
    report = current_report()
    tenant, why = declared_tenant(host), reason(state, host)
    if tenant is None:
        report.notes.append(f"{host.name}: {why}")
        return
    receipt = report.receipts.get(host.name)
    if receipt is None:
        receipt = Receipt(verb, host.name, rings(state, host), tenant.get("port", "-"), state=UNREACHABLE)
        report.receipts[host.name] = receipt
    if not receipt.failed_checks:
        receipt.notes.insert(0, why)


def declared_tenant(host: Any) -> dict[str, Any] | None:
    """The fields of the tenant's inventory line, perhaps unchecked; None where the host is not a tenant."""
    lines = (value for key, value in host.data.dict().items() if key.startswith(DECLARED))
    return next((line[2] for line in lines if line[0] == "tenant"), None)


def rings(state: Any, host: Any) -> tuple[str, ...]:
    """The host's groups, without pyinfra's own and without those of all hosts."""
    groups = {group: set(state.inventory.get_group(group)) for group in host.groups if not group.startswith("@")}
    return tuple(group for group, members in groups.items() if members < set(state.inventory))


def reason(state: Any, host: Any) -> str:
    """Where the host's run ended and why: "not finished: container runs: port 5501 is taken"."""
    lost = getattr(host.connector, "problem", None)
    finished = [key for key in host.op_hash_order if state.ops[host][key].operation_meta.is_complete()]
    if not finished:
        return lost.fact.removeprefix(f"{host.name}: ") if lost is not None else "not finished; see above"
    failed = finished[-1]  # the host ran no further operation
    stderr = [line for line in state.ops[host][failed].operation_meta.stderr_lines if line.strip()]
    fact = lost.fact if lost is not None else next(iter(stderr), "see above")
    step = ", ".join(sorted(state.get_op_meta(failed).names))
    return f"not finished: {step}: {fact.removeprefix(f'{host.name}: ')}"
