"""One command makes tenants that work; the same command again changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from podman import PodmanClient
from psycopg import OperationalError

from tests.contract.catalogue import contract, live, orders
from tests.deploy.conftest import Deployed
from tests.deploy.processes import eventually
from tests.deploy.tenant import Tenant

Containers = dict[str, dict[str, Any]]


def test_the_first_deploy_makes_two_tenants_that_work(deployed: Deployed) -> None:
    for tenant in deployed.tenants:
        with tenant.connect() as app:
            assert app.execute("SELECT 1").fetchone() == (1,)
        assert deployed.first.line(tenant.name, str(tenant.port), "passed"), deployed.first.err


def test_the_second_deploy_changes_nothing(deployed: Deployed) -> None:
    files = deployed.one.files()
    deployed.both.provision().changed_nothing()
    assert deployed.one.files() == files


def test_a_memory_that_was_written_is_found_by_text_and_by_vector(deployed: Deployed) -> None:
    near, far = [1.0, *[0.0] * 1535], [0.0, 1.0, *[0.0] * 1534]
    with deployed.two.connect() as app:
        app.execute("INSERT INTO memory_plugin.memory_namespaces (name, kind) VALUES ('workspace:e2e', 'workspace')")
        for content, vector in (("The ferry leaves at dawn.", near), ("Nothing of the kind.", far)):
            app.execute(
                "INSERT INTO memory_plugin.memory_records (namespace, content, kind, source, embedding)"
                " VALUES ('workspace:e2e', %s, 'fact', 'user', %s::vector)",
                [content, str(vector)],
            )
        found = app.execute(
            "SELECT content FROM memory_plugin.memory_records"
            " WHERE content_tsv @@ plainto_tsquery('english', 'ferries')"
        ).fetchall()
        nearest = app.execute(
            "SELECT content FROM memory_plugin.memory_records ORDER BY embedding <=> %s::vector LIMIT 1", [str(near)]
        ).fetchall()
        app.execute("DELETE FROM memory_plugin.memory_namespaces WHERE name = 'workspace:e2e'")
    assert found == nearest == [("The ferry leaves at dawn.",)]


# What waits for an embedding model, which this tenant has or has not, depending on the tests before.
WAITING = {"memory_procedure_embedding": None, "knowledge_nodes": ("embedding", "idx_knowledge_nodes_embedding_hnsw")}


def finish_interrupted_recycle(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema's tables, less what waits for a model."""
    tables = {name: table for name, table in schema["tables"].items() if WAITING.get(name, ()) is not None}
    return {
        name: {
            kind: {what: found for what, found in things.items() if what not in (WAITING.get(name) or ())}
            for kind, things in table.items()
        }
        for name, table in tables.items()
    }


@pytest.mark.parametrize("component", ["control_plane", "memory_plugin", "knowledge"])
def test_the_tables_of_a_deployed_tenant_are_the_contracts(deployed: Deployed, component: str) -> None:
    """Column by column and in their order, with constraints, indexes, triggers and the values of enums."""
    with deployed.two.connect() as app:
        there, desired = live(app, component), contract(component)
    assert there["enums"] == desired["enums"]
    assert finish_interrupted_recycle(there) == finish_interrupted_recycle(desired)
    order = orders(desired)
    assert all(columns == order[table] for table, columns in orders(there).items())


@pytest.fixture(scope="module")
def containers(deployed: Deployed) -> Iterator[Containers]:
    """Tenant -> its container as podman's own API tells it, through podman-py: another reader than the product's."""
    account = deployed.site.account
    socket = f"/run/user/{account.uid}/berthtest.sock"
    with account.start("podman", "system", "service", "--time=0", f"unix://{socket}") as service:
        try:
            assert eventually(Path(socket).is_socket), "podman's API does not answer"
            with PodmanClient(base_url=f"unix://{socket}", timeout=30) as client:
                desired = client.images.get("localhost/pgberth:18-forky").id.removeprefix("sha256:")
                told = {tenant.name: client.containers.get(tenant.name).attrs for tenant in deployed.tenants}
            yield {name: {**attributes, "wanted image": desired} for name, attributes in told.items()}
        finally:
            service.terminate()


@pytest.fixture(params=["one", "two"])
def tenant(request: pytest.FixtureRequest, deployed: Deployed) -> Tenant:
    found: Tenant = getattr(deployed, request.param)
    return found


def test_a_container_is_labelled_and_runs_the_image_by_its_id(tenant: Tenant, containers: Containers) -> None:
    told = containers[tenant.name]
    labels = told["Config"]["Labels"]
    assert (labels["pgberth.tenant"], labels["pgberth.generation"]) == (tenant.name, "1")
    spec = json.loads((tenant.directory / "spec.json").read_text())
    assert (labels["pgberth.spec"], f"sha256:{told['Image']}") == (spec["hash"], spec["image"])
    assert told["Image"] == told["wanted image"]
    assert told["ImageName"].removeprefix("sha256:") == told["Image"]  # by id: a tag may move


def test_a_container_can_do_nothing_but_serve(tenant: Tenant, containers: Containers) -> None:
    told = containers[tenant.name]
    host = told["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert not told["EffectiveCaps"]
    assert not told["BoundingCaps"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert not host["CapAdd"]
    assert host["RestartPolicy"]["Name"] in ("no", "on-failure")  # `always` would spin on the guard's refusal
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{told['State']['Pid']}/status").read_text().splitlines()
    )
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert int(status["Uid"].split()[0]) == tenant.account.uid  # the data belongs to the account itself


def test_a_container_sees_its_volume_and_its_configuration_and_nothing_else(
    tenant: Tenant, containers: Containers
) -> None:
    told = containers[tenant.name]
    mounts = {mount["Destination"]: mount for mount in told["Mounts"]}
    assert set(mounts) == {"/var/lib/postgresql", "/etc/pgberth"}
    assert (mounts["/var/lib/postgresql"]["Name"], mounts["/var/lib/postgresql"]["RW"]) == (tenant.volume, True)
    assert (mounts["/etc/pgberth"]["Source"], mounts["/etc/pgberth"]["RW"]) == (str(tenant.directory / "etc"), False)
    assert set(told["HostConfig"]["Tmpfs"]) == {"/tmp", "/run/postgresql", "/dev/shm"}


def test_a_tenant_listens_on_loopback_only(tenant: Tenant, containers: Containers) -> None:
    ports = containers[tenant.name]["NetworkSettings"]["Ports"]
    assert ports == {"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(tenant.port)}]}
    sockets = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()
    ]
    listening = {words[1] for words in sockets if words[3] == "0A" and words[1].endswith(f":{tenant.port:04X}")}
    assert listening == {f"0100007F:{tenant.port:04X}"}


def test_no_password_is_in_what_a_container_is_started_with(tenant: Tenant, containers: Containers) -> None:
    told = containers[tenant.name]
    server = Path(f"/proc/{told['State']['Pid']}")
    started_with = json.dumps(told) + str((server / "environ").read_bytes()) + str((server / "cmdline").read_bytes())
    for kind in ("superuser", "migrator", "app", "monitor"):
        assert tenant.password(kind) not in started_with
    assert {name.split("=")[0] for name in told["Config"]["Env"]} <= {"PATH", "HOME", "HOSTNAME", "TERM", "container"}


def test_the_secrets_of_a_tenant_are_for_its_account_alone_and_recur_nowhere(deployed: Deployed) -> None:
    passwords = []
    for tenant in deployed.tenants:
        for path in [*tenant.directory.glob("secrets/*"), tenant.directory / "passfile"]:
            assert (path.stat().st_uid, oct(path.stat().st_mode)) == (tenant.account.uid, "0o100600"), path
        passwords += [path.read_text() for path in tenant.directory.glob("secrets/*")]
    assert len(passwords) == len(set(passwords)) == 8


def test_one_tenants_password_opens_no_other(deployed: Deployed) -> None:
    with pytest.raises(OperationalError, match="password authentication failed"):
        deployed.two.connect(password=deployed.one.password()).close()
