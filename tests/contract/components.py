"""A component taken up in a test's database by the product's own runner, and what its verify files find there."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import Iterator
from functools import partial
from typing import Any

from pgberth.migrations import ledger, runner
from pgberth.migrations.plan import plan_up
from pgberth.migrations.session import Connect
from pgberth.migrations.source import Migration, Parameters, load
from pgberth.migrations.verify import SchemaFinding, findings
from tests.contract.catalogue import Session, contract
from tests.postgres import Database, Server, new_database

DIMENSION = 256  # of the embeddings in tests; what register_model would stamp
_NUMBERS = itertools.count(1)


def migrator(database: Database) -> Connect:
    """Sessions as the migrator, as the product opens them."""
    return partial(database.server.connect, "memory_migrator", database.name)


def parameters(component: str) -> dict[str, Any]:
    """What the contract says the component is applied with."""
    given: dict[str, Any] = contract(component)["parameters"]
    return given


def bring_up(
    database: Database, component: str, given: Parameters | None = None, to: str | None = None
) -> tuple[str, ...]:
    """Apply a component, to its head by default, with what the contract gives it; the versions that were applied."""
    given = parameters(component) if given is None else given
    connect = migrator(database)
    done: tuple[Migration, ...] = ()
    if "registered_model" in given and to != "0000":
        base = {name: value for name, value in given.items() if name != "registered_model"}
        done = runner.apply(connect, component, base, to=None if _registered(database) else "0001").done
        runner.run_code(connect, component, "register_model", given, _stamp, after=("0001",))
    done += runner.apply(connect, component, given, to=to).done
    return tuple(migration.version for migration in done)


def _registered(database: Database) -> bool:
    session = database.connect("memory_owner")
    return ledger.exists(session) and any(
        head.version == "register_model" and head.state == "applied" for head in ledger.heads(session, "knowledge")
    )


def _stamp(session: Session) -> bool:
    """What register_model does to the column."""
    session.execute(
        f"ALTER TABLE knowledge.knowledge_nodes ALTER COLUMN embedding TYPE public.vector({DIMENSION})".encode()
    )
    return True


def take_down(database: Database, component: str, to: str) -> None:
    """Revert a component to a version, or to "zero"."""
    runner.revert(migrator(database), component, to, parameters(component))


def applied(database: Database, component: str) -> tuple[Migration, ...]:
    """What is applied of the component: what its verify files may speak about."""
    return plan_up(component, ledger.heads(database.connect("memory_owner"), component)).applied


def found(session: Session, migrations: tuple[Migration, ...]) -> tuple[SchemaFinding, ...]:
    """What the verify files find, in a session of any role."""
    return findings(session, migrations)


def rendered(component: str, given: Parameters | None = None) -> tuple[Migration, ...]:
    """Every migration of the component, whether applied or not."""
    return tuple(load(component, parameters(component) if given is None else given))


def dump(database: Database) -> str:
    """Every object and right in the database but the ledger's: pg_dump's words, equal for equal databases."""
    command = [
        str(database.server.bin / "pg_dump"), "--schema-only", "--restrict-key=pgberth",
        "--exclude-schema=memory_ledger", f"--dbname={database.conninfo('postgres')}",
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextlib.contextmanager
def standing(server: Server, *components: str) -> Iterator[Database]:
    """A database with these components, for tests that leave it as it was."""
    with new_database(server, "tenant_template", f"standing_{next(_NUMBERS)}") as database:
        for component in components:
            bring_up(database, component)
        yield database


@contextlib.contextmanager
def undone(session: Session) -> Iterator[Session]:
    """The session in a transaction that is rolled back, so that the next test finds what this one found."""
    with session.transaction(force_rollback=True):
        yield session
