"""The memory plugin beside a tenant: its contract on the real tables, its bounds, and what comes of one that is ill."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pgberth.container.sidecar import UNREAD, way
from pgberth.model import layout
from pgberth.rendering.entrypoint import entrypoint
from tests.deploy.processes import eventually, kill
from tests.deploy.product import Inventory
from tests.deploy.site import Site, free_port
from tests.deploy.tenant import Tenant
from tests.plugin import image

pytestmark = pytest.mark.usefixtures("root")


@dataclass(frozen=True)
class Plugged(Tenant):
    """A tenant with a sidecar. + plugin: the sidecar as the inventory has it"""

    plugin: str = ""
    plugin_port: int = 0

    def line(self) -> str:
        return super().line()[:-1] + f", sidecar={self.plugin})" if self.plugin else super().line()

    @property
    def sidecar(self) -> str:
        return layout.sidecar(self.name)

    def inspected(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.account.podman("container", "inspect", self.sidecar).out)[0]
        return found

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """(status, decoded body) of a request to the plugin, through the published port."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.plugin_port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  (http, to loopback)
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read())


def sidecar(tag: str, port: int, required: bool = True) -> str:
    return f"Sidecar(image={tag!r}, port={port}, required={required})"


@pytest.fixture(scope="module")
def tag(site: Site) -> str:
    return image.hand_over(site.account)


@pytest.fixture(scope="module")
def plugged(site: Site, tag: str) -> Iterator[tuple[Plugged, Inventory]]:
    """A tenant whose plugin is required and runs."""
    port = free_port()
    bare = site.tenant("plugged")
    made = Plugged(bare.account, bare.name, bare.port, bare.components, sidecar(tag, port), port)
    inventory = site.inventory(made)
    inventory.provision().went_well()
    yield made, inventory
    site.account.podman("rm", "--force", "--ignore", "--time", "0", made.sidecar)
    site.remove(made)


def test_the_plugin_keeps_its_contract_on_the_tables_of_its_schema(plugged: tuple[Plugged, Inventory]) -> None:
    tenant, _ = plugged
    status, told = tenant.ask("GET", "/v1/health")
    assert (status, told["status"], told["version"]) == (200, "ok", "1.0.0")
    assert tenant.ask("PUT", "/v1/namespaces/workspace:show", {"kind": "workspace", "metadata": {}})[0] == 200
    memory = {"content": "The ferry leaves at dawn.", "kind": "fact", "source": "user"}
    status, made = tenant.ask("POST", "/v1/namespaces/workspace:show/memories", memory)
    assert (status, made["namespace"]) == (201, "workspace:show")
    status, found = tenant.ask("POST", "/v1/search", {"namespaces": ["workspace:show"], "query": "ferries"})
    assert (status, [one["id"] for one in found["memories"]]) == (200, [made["id"]])
    assert tenant.superuser("SELECT count(*) FROM memory_plugin.memory_records") == "1"
    tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    assert tenant.superuser(tables) == "0"
    assert tenant.ask("POST", "/v1/namespaces/workspace:show/memories", {**memory, "content": " "})[0] == 400
    assert tenant.ask("DELETE", "/v1/namespaces/workspace:show")[0] == 204


def test_a_second_deploy_leaves_a_healthy_plugin_alone(plugged: tuple[Plugged, Inventory]) -> None:
    tenant, inventory = plugged
    before = tenant.inspected()["Id"]
    run = inventory.provision().changed_nothing()
    assert tenant.inspected()["Id"] == before, run.said
    receipt = sorted((tenant.directory / "receipts").glob("*.json"))[-1]
    assert json.loads(receipt.read_text())["did"] == {"memory_plugin": "healthy"}


def test_the_plugin_is_as_closed_as_the_server_and_listens_on_loopback_only(plugged: tuple[Plugged, Inventory]) -> None:
    tenant, _ = plugged
    told = tenant.inspected()
    status = Path(f"/proc/{told['State']['Pid']}/status").read_text()
    held = dict(line.split(":\t", 1) for line in status.splitlines())
    assert {int(held[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")} == {0}
    assert (held["NoNewPrivs"], held["Seccomp"]) == ("1", "2")
    assert int(held["Uid"].split()[0]) == tenant.account.uid
    assert told["HostConfig"]["ReadonlyRootfs"]
    assert told["NetworkSettings"]["Ports"] == {
        "9100/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(tenant.plugin_port)}]
    }
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    at = {words[1] for words in lines if words[3] == "0A" and words[1].endswith(f":{tenant.plugin_port:04X}")}
    assert at == {f"0100007F:{tenant.plugin_port:04X}"}


def test_the_password_reaches_the_plugin_by_a_file_alone(plugged: tuple[Plugged, Inventory]) -> None:
    tenant, _ = plugged
    told = json.dumps(tenant.inspected())
    assert tenant.password() not in told
    assert "MEMORY_PLUGIN_SKIP_MIGRATE=1" in told
    inside = ("stat", "-c", "%a %u", "/run/secrets/memory_plugin_database_url")
    assert tenant.account.podman("exec", tenant.sidecar, *inside).out == "400 65532\n"
    for kind in ("superuser", "migrator", "monitor"):
        secret = tenant.account.podman("exec", tenant.sidecar, "cat", inside[-1]).out
        assert tenant.password(kind) not in secret


# Creates without naming a schema, as the owner: the app may create nothing, and the migrator may become the owner.
_WORKLOAD = """
import os, psycopg
with psycopg.connect(os.environ["MEMORY_PLUGIN_DATABASE_URL"]) as session:
    session.execute("SET ROLE memory_owner")
    session.execute("CREATE TABLE landed (near vector(2))")
    found = session.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'landed'").fetchall()
    session.rollback()
print(found, os.environ["MEMORY_PLUGIN_URL"] if "MEMORY_PLUGIN_URL" in os.environ else "no plugin")
"""


def test_a_workload_that_boots_through_the_entrypoint_lands_in_memory_plugin(
    plugged: tuple[Plugged, Inventory], tag: str
) -> None:
    tenant, _ = plugged
    account, place = tenant.account, f"{tenant.name}-workload"
    network, host = way(account.podman("version", "--format", "{{.Version}}").out, tenant.port)
    script, secret = f"{account.home}/{place}.sh", f"{place}-url"
    url = f"postgresql://memory_migrator:{tenant.password('migrator')}@{host}:{tenant.port}/memory"
    account.run("sh", "-c", 'cat > "$1"; chmod 0755 "$1"', "x", script, stdin=entrypoint(["memory_plugin"]))
    account.podman("secret", "create", secret, "-", stdin=f"{url}\n")
    try:
        ran = account.podman(
            *("run", "--rm", "--pull=never", f"--name={place}", network, f"--secret={secret},mode=0400"),
            *(f"--volume={script}:/entrypoint.sh:ro", f"--env=DATABASE_URL_FILE=/run/secrets/{secret}"),
            *("--entrypoint=/entrypoint.sh", tag, "python3", "-c", _WORKLOAD),
        )
    finally:
        account.podman("secret", "rm", secret)
    assert ran.out == "[('memory_plugin',)] no plugin\n", ran.said


def test_a_plugin_that_ended_is_brought_back_by_the_next_deploy(plugged: tuple[Plugged, Inventory]) -> None:
    tenant, inventory = plugged
    kill(tenant.inspected()["State"]["Pid"])
    assert eventually(lambda: tenant.inspected()["State"]["Status"] != "running")
    # Required: a suite that is green for the server alone would not be the truth.
    assert inventory.verify().failed().line(f"{tenant.name}: its memory plugin is not healthy: it does not run")
    assert inventory.status().went_well().line(f"{tenant.name}: memory plugin: it does not run")
    inventory.provision().went_well()
    assert tenant.ask("GET", "/v1/health")[0] == 200


def test_it_reaches_its_server_and_nothing_else_on_the_machines_loopback(plugged: tuple[Plugged, Inventory]) -> None:
    tenant, _ = plugged
    _, host = way(tenant.account.podman("version", "--format", "{{.Version}}").out, tenant.port)
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        assert reached(tenant, host, tenant.port) == "reached"
        for place in (host, "127.0.0.1", "10.0.2.2"):
            assert reached(tenant, place, other.getsockname()[1]) == "not reached", place
        for place in ("::1", "fd00::2"):
            assert reached(tenant, place, six.getsockname()[1]) == "not reached", place


def reached(tenant: Plugged, host: str, port: int) -> str:
    """What becomes of a connection from the plugin's container."""
    code = f"import socket\ntry: socket.create_connection(({host!r}, {port}), 3)\nexcept OSError: print('not reached')"
    code += "\nelse: print('reached')"
    return tenant.account.podman("exec", tenant.sidecar, "python3", "-c", code).out.strip()


def test_a_new_port_waits_for_a_recycle_and_the_plugin_is_asked_on_the_one_that_it_has(
    plugged: tuple[Plugged, Inventory], site: Site, tag: str
) -> None:
    tenant, _ = plugged
    before = tenant.inspected()["Id"]
    moved = site.inventory(replace(tenant, plugin=sidecar(tag, free_port())))
    run = moved.provision().changed_nothing()
    assert run.line(f"{tenant.name}: memory plugin: pending: recycle"), run.said
    moved.verify().went_well()
    assert tenant.inspected()["Id"] == before


def test_a_plugin_that_a_killed_run_did_not_tell_its_password_is_told_by_the_next_deploy(
    plugged: tuple[Plugged, Inventory],
) -> None:
    tenant, inventory = plugged
    before, mark = tenant.inspected()["Id"], tenant.directory / "sidecar-secrets" / UNREAD
    processes = tenant.account.podman("top", tenant.sidecar, "pid").out
    tenant.account.run("touch", str(mark))
    inventory.provision().went_well()
    assert not mark.exists()
    assert tenant.account.podman("top", tenant.sidecar, "pid").out != processes
    assert (tenant.inspected()["Id"], tenant.ask("GET", "/v1/health")[0]) == (before, 200)
    inventory.provision().changed_nothing()


def test_a_rotation_gives_a_healthy_plugin_the_new_password_in_the_container_that_it_has(
    plugged: tuple[Plugged, Inventory],
) -> None:
    tenant, inventory = plugged
    before = tenant.inspected()["Id"]
    run = inventory.verb("rotate").went_well()
    assert run.line(f"{tenant.name}: memory plugin: gap ", " refused of ", " requests"), run.said
    assert newest_receipt(tenant, "rotate")["did"]["memory_plugin_probe"]["requests"] > 10
    assert tenant.inspected()["Id"] == before
    memory = {"namespaces": ["workspace:none"]}
    assert tenant.ask("POST", "/v1/search", memory) == (200, {"memories": []})
    inventory.provision().changed_nothing()


def test_a_recycle_counts_what_the_plugins_clients_notice_and_leaves_the_plugin_alone(
    plugged: tuple[Plugged, Inventory],
) -> None:
    tenant, inventory = plugged
    before, server = tenant.inspected()["Id"], tenant.container()["Id"]
    run = inventory.verb("recycle").went_well()
    assert run.line(f"{tenant.name}: memory plugin: gap ", " refused of "), run.said
    counted = newest_receipt(tenant, "recycle")["did"]["memory_plugin_probe"]
    assert 0 < counted["refused"] < counted["requests"]  # while its server was away
    assert counted["gap_ms"] > 0
    assert (tenant.inspected()["Id"], tenant.container()["Id"] != server) == (before, True)
    assert tenant.ask("GET", "/v1/health")[0] == 200


WRONG = {
    "a plugin that exits at once": (
        'FROM {tag}\nENTRYPOINT ["python3", "-c", "raise SystemExit(3)"]\n',
        "its memory plugin is not healthy after 30 s: ",
    ),
    "an image without a shell": (
        'FROM scratch\nCOPY Containerfile.wrong /plugin\nENTRYPOINT ["/plugin"]\n',
        "of its memory plugin has no /bin/sh that runs",
    ),
    "an image without its program": ('FROM {tag}\nENTRYPOINT ["/gone"]\n', "has no program /gone"),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("what", WRONG)
def test_a_recycle_goes_back_with_its_plugin_where_it_was_given(
    plugged: tuple[Plugged, Inventory], site: Site, tag: str, what: str
) -> None:
    tenant, inventory = plugged
    text, says = WRONG[what]
    wrong = f"localhost/berthtest-plugin:{'-'.join(what.split())}"
    build = f'cat > "$1" && podman build --quiet --isolation=chroot --tag {wrong} -f "$1" . && rm "$1"'
    tenant.account.run("sh", "-c", build, "build", "Containerfile.wrong", stdin=text.format(tag=tag), timeout=120)
    try:
        run = site.inventory(replace(tenant, plugin=sidecar(wrong, tenant.plugin_port))).verb("recycle").failed()
        assert run.line(tenant.name, says), run.said
        assert run.line(tenant.name, "went back to the previous spec", "which is green"), run.said
        assert tenant.ask("GET", "/v1/health")[0] == 200
        assert not (tenant.directory / "recycling.json").exists()
        inventory.provision().changed_nothing()
    finally:
        tenant.account.podman("image", "rm", "--force", wrong)


def newest_receipt(tenant: Plugged, verb: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(max((tenant.directory / "receipts").glob(f"*-{verb}.json")).read_text())
    return found


def test_an_ill_plugin_fails_a_deploy_where_it_is_required(plugged: tuple[Plugged, Inventory]) -> None:
    tenant, inventory = plugged
    tenant.superuser("ALTER TABLE memory_plugin.memory_records RENAME TO gone")
    try:
        assert eventually(lambda: tenant.ask("GET", "/v1/health")[0] == 503)
        run = inventory.provision("--data", "smoke=false").failed()
        assert run.line(f"{tenant.name}: its memory plugin is not healthy after 30 s: HTTP/1.0 503"), run.said
        assert run.line("HINT: ", "runbooks/sidecar-unhealthy.md")
    finally:
        tenant.superuser("ALTER TABLE memory_plugin.gone RENAME TO memory_records")
    assert eventually(lambda: tenant.ask("GET", "/v1/health")[0] == 200)


def test_one_that_the_inventory_has_no_longer_goes_and_the_server_stays(
    plugged: tuple[Plugged, Inventory], site: Site
) -> None:
    tenant, _ = plugged
    before = tenant.container()["Id"]
    bare = site.inventory(replace(tenant, plugin=""))
    bare.provision().went_well()
    assert tenant.account.podman("container", "exists", tenant.sidecar, check=False).code == 1
    assert not [
        name for name in tenant.account.podman("secret", "ls", "--format={{.Name}}").out.split() if tenant.name in name
    ]
    assert tenant.container()["Id"] == before
    bare.provision().changed_nothing()
