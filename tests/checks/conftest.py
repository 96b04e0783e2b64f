"""A tenant whose container is made up and whose server is real: all of the suite can be asked of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pgberth.checks.context import CheckContext
from pgberth.container.state import TenantState
from pgberth.database.access import access_sql
from pgberth.migrations import runner
from pgberth.migrations.tenant_run import tenant_probe
from pgberth.model import scram
from pgberth.model.roles import MIGRATOR, PASSWORD_KINDS
from pgberth.model.tenant import COMPONENTS, HEAD, Tenant
from pgberth.rendering.configuration import pg_hba_conf
from tests.fake_host import password_in
from tests.postgres import Server, running_server
from tests.sample import ACME, container, observe_output, settings, state

LIVE = replace(ACME, components=dict.fromkeys(COMPONENTS, HEAD))
# The tests come in over the socket; everybody else is judged by the tenant's own lines.
_DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
HBA = f"local all all trust\n{pg_hba_conf(LIVE)}"


@dataclass
class Live:
    """
    + hba: the file the server reads
    + spoilt: whether something was changed since it was in order
    """

    cluster: Server
    hba: Path
    spoilt: bool = False

    def sql(self, statements: str) -> None:
        """As the superuser, in the tenant's database."""
        self.spoilt = True
        with self.cluster.connect(dbname="memory") as session:
            session.execute(statements.encode())

    def let_in(self, text: str) -> None:
        """Another pg_hba.conf, taken up before this returns."""
        self.spoilt = True
        self.hba.write_text(text)
        with self.cluster.connect() as session:
            session.execute("SELECT pg_reload_conf(), pg_sleep(0.1)")

    def restore(self) -> None:
        """As provision left it."""
        self.hba.write_text(HBA)
        with self.cluster.connect() as session:
            session.execute("DROP DATABASE memory WITH (FORCE)")
            session.execute("CREATE DATABASE memory TEMPLATE pristine STRATEGY file_copy")
        self.make_access()
        self.spoilt = False

    def make_access(self) -> None:
        verifiers = {role: scram.verifier(password_in(f"{kind}-v1")) for role, kind in PASSWORD_KINDS.items()}
        self.psql(access_sql(LIVE, verifiers).reveal(), "postgres")

    def psql(self, script: str, database: str) -> str:
        """As observe.sh asks, as the superuser."""
        options = ["-XAtq", "-v", "ON_ERROR_STOP=1", self.cluster.conninfo("postgres", database), "-f", "-"]
        command = [str(self.cluster.bin / "psql"), *options]
        return subprocess.run(command, input=script, capture_output=True, text=True, check=True).stdout

    def dump(self) -> str:
        """Every row of the tenant's database, as SQL."""
        command = [str(self.cluster.bin / "pg_dump"), "--data-only", self.cluster.conninfo("postgres", "memory")]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return "".join(line for line in told.splitlines(keepends=True) if "restrict" not in line)

    def server(self) -> dict[str, Any]:
        """The probe's answer, as if the data lay in a container's volume."""
        answers = self.psql(tenant_probe(LIVE), "memory").splitlines()
        told: dict[str, Any] = {name: value for line in answers for name, value in json.loads(line).items()}
        # The tests' server is configured on its command line.
        ours = {"data_directory": "/var/lib/postgresql/18/data", "settings": settings(LIVE), "config_errors": []}
        return {**told, **ours}

    def context(self, tenant: Tenant = LIVE, **changes: Any) -> CheckContext:
        """The tenant as the suite looks at it now."""
        told = self.server()
        system = told["system_identifier"]
        seen = state(LIVE, answer=told, cluster=system, marker={**state().marker, "system_identifier": system})
        found = TenantState.parse(observe_output(LIVE, seen).splitlines()).server
        assert found is not None
        address = ("127.0.0.1", self.cluster.port)
        passwords = password_in("app-v1"), password_in("migrator-v1")
        made = CheckContext(tenant, seen, container(LIVE), found, address, *passwords, {"pg_hba.conf": HBA})
        return replace(made, **changes)


@contextmanager
def _running() -> Iterator[Live]:
    place = Path(tempfile.mkdtemp(prefix="pgberth-hba-"))
    place.chmod(0o755)
    hba = place / "pg_hba.conf"
    hba.write_text(HBA)
    hba.chmod(0o644)
    try:
        with running_server(18, {"hba_file": str(hba), **_DURABLE}) as cluster:
            yield Live(cluster, hba)
    finally:
        shutil.rmtree(place)


@pytest.fixture(scope="session")
def tenant() -> Iterator[Live]:
    """One tenant with every component, as provision leaves it."""
    with _running() as made:
        made.make_access()
        for component in LIVE.ordered_components:
            runner.apply(lambda: made.cluster.connect(MIGRATOR, "memory"), component)
        with made.cluster.connect() as session:
            session.execute("CREATE DATABASE pristine TEMPLATE memory STRATEGY file_copy")
        yield made


@pytest.fixture
def live(tenant: Live) -> Live:
    """The tenant, in order again whatever the test before did to it."""
    if tenant.spoilt:
        tenant.restore()
    return tenant
