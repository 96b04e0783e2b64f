"""The closing report, on stderr: a table of tenants, and below it the lines that need attention."""

from __future__ import annotations

import click

from pgberth.model.problems import visible
from pgberth.report.receipt import Receipt

COLUMNS = ("tenant", "ring", "port", "image", "versions", "checks", "seconds")


def write(verb: str, receipts: list[Receipt], notes: list[str], failed: set[str], *, verbose: bool) -> None:
    """
    Print the report of a run.

    + notes: lines about machines and about the run as a whole
    + failed: names of the hosts that did not finish
    + verbose: name every check, as `verify` always does
    """
    if receipts:
        click.echo(f"\n{table([row(receipt, failed) for receipt in receipts])}", err=True)
    for note in notes:
        click.echo(note, err=True)
    for receipt in receipts:
        for line in lines(receipt, named=verbose or verb == "verify"):
            click.echo(visible(line, one_line=True), err=True)


def row(receipt: Receipt, failed: set[str]) -> dict[str, str]:
    """One tenant's line of the table: column -> text."""
    return {
        "tenant": receipt.tenant,
        "ring": ",".join(receipt.rings),
        "port": str(receipt.port),
        "image": receipt.image or "-",
        "versions": " ".join(f"{name} {version}" for name, version in receipt.versions.items()) or "-",
        "checks": checks(receipt, receipt.tenant in failed),
        "seconds": f"{receipt.seconds:.1f}",
    }


def checks(receipt: Receipt, failed: bool) -> str:
    """The result of the suite, in a word or two."""
    if receipt.state:
        return receipt.state
    if receipt.results is None:
        return "FAILED before the checks" if failed else "not run"
    red = len(receipt.failed_checks)
    return f"{red} of {len(receipt.results)} RED" if red else f"{len(receipt.results)} passed"


def lines(receipt: Receipt, *, named: bool) -> list[str]:
    """
    The lines about a tenant below the table.

    + named: name the checks that passed, too
    """
    texts = list(receipt.notes)
    if receipt.pending:
        texts.append(f"pending: recycle ({receipt.pending})")
    if named and receipt.results is not None:
        texts.append(f"passed: {' '.join(result.id for result in receipt.results if result.passed)}")
    texts += [f"RED {result.id}: {problem}" for result in receipt.failed_checks for problem in result.problems]
    return [f"{receipt.tenant}: {text}" for text in texts]


def table(rows: list[dict[str, str]]) -> str:
    """Rows as aligned text, with a heading."""
    shown = [dict(zip(COLUMNS, COLUMNS, strict=True)), *rows]
    widths = {column: max(len(line[column]) for line in shown) for column in COLUMNS}
    return "\n".join("  ".join(line[c].ljust(widths[c]) for c in COLUMNS).rstrip() for line in shown)
