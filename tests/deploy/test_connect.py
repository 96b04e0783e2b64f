"""The ways in: a URL for any client of PostgreSQL, psql without a password typed, and nobody else gets in."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

import psycopg
import pytest

from pgberth.model.url import Place, tenant_url, variable
from pgberth.rendering.environment_file import environment_file
from tests.deploy.account import Ended
from tests.deploy.conftest import Deployed
from tests.deploy.processes import eventually, processes
from tests.deploy.tenant import Tenant

_LANDING = "SELECT current_schema(), '[3]'::vector <-> '[5]'::vector"


@pytest.fixture(scope="module")
def psql() -> str:
    """The host's own client, of whatever version."""
    found = shutil.which("psql")
    if found is None:
        pytest.skip("no psql on this host: apt-get install postgresql-client")
    return found


@cache
def url(deployed: Deployed, tenant: Tenant, component: str = "", *options: str) -> str:
    """As the product prints it; it is asked once for each."""
    run = deployed.both.local("url", "--tenant", tenant.name, "--component", component, *options).went_well()
    return run.out.strip()


def ask(psql: str, tenant: Tenant, url: str, sql: str = _LANDING, **environment: str) -> Ended:
    return tenant.account.run(psql, "-XAtw", url, "-c", sql, check=False, environment=environment)


def test_a_plain_client_lands_in_its_schema_and_finds_vector(deployed: Deployed, psql: str) -> None:
    for tenant in deployed.tenants:
        for component in tenant.components:
            assert ask(psql, tenant, url(deployed, tenant, component)) == Ended(0, f"{component}|2\n", "")


def test_without_a_component_it_lands_in_the_tenants_first(deployed: Deployed, psql: str) -> None:
    assert ask(psql, deployed.one, url(deployed, deployed.one)).out == "memory_plugin|2\n"
    assert ask(psql, deployed.two, url(deployed, deployed.two)).out == "control_plane|2\n"


def test_no_password_is_in_the_url_nor_in_what_the_client_is_started_with(deployed: Deployed, psql: str) -> None:
    tenant = deployed.one
    told = url(deployed, tenant, "memory_plugin")
    assert "passfile=" in told
    with tenant.account.start(psql, "-XAtwq", told, "-c", "SELECT pg_sleep(30)", stdout=subprocess.DEVNULL) as client:
        argv = eventually(lambda: [p.argv for p in processes(tenant.account.uid) if p.pid == client.pid])
        client.kill()
    assert "pg_sleep" in argv[0]
    for kind in ("superuser", "migrator", "app", "monitor"):
        assert tenant.password(kind) not in told + argv[0]


def test_a_wrong_password_is_refused(deployed: Deployed, psql: str) -> None:
    told = url(deployed, deployed.one, "memory_plugin")
    ended = ask(psql, deployed.one, told, PGPASSWORD="wrong")
    assert ended.code == 2
    assert 'password authentication failed for user "memory_app_a"' in ended.err


def test_no_password_is_refused(deployed: Deployed, psql: str) -> None:
    told = url(deployed, deployed.one, "memory_plugin").replace("passfile=", "application_name=")
    ended = ask(psql, deployed.one, told, PGPASSFILE="/dev/null")
    assert ended.code == 2
    assert "no password supplied" in ended.err


@pytest.mark.parametrize("database", ["memory", "postgres"])
def test_the_superuser_is_refused_with_the_right_password(deployed: Deployed, psql: str, database: str) -> None:
    told = url(deployed, deployed.one).replace("memory_app_a@", "postgres@").replace("/memory?", f"/{database}?")
    ended = ask(psql, deployed.one, told, PGPASSWORD=deployed.one.password("superuser"))
    assert ended.code == 2
    assert 'pg_hba.conf rejects connection for host "' in ended.err
    assert 'user "postgres"' in ended.err


def test_asked_for_the_url_is_whole_and_logs_in(deployed: Deployed) -> None:
    told = url(deployed, deployed.two, "knowledge", "--show-password")
    assert deployed.two.password() in told
    with psycopg.connect(told) as session:
        assert session.execute("SELECT current_schemas(false)").fetchone() == (["knowledge", "public"],)


def test_the_connection_file_holds_a_url_for_each_component(deployed: Deployed) -> None:
    lines = (deployed.two.directory / "connection.env").read_text().splitlines()
    urls = dict(line.split("=", 1) for line in lines)
    desired = {"DATABASE_URL": "control_plane"} | {
        f"{one.upper()}_DATABASE_URL": one for one in deployed.two.components
    }
    assert set(urls) == set(desired)
    for name, schema in desired.items():
        with psycopg.connect(urls[name]) as session:
            assert session.execute("SELECT current_schema()").fetchone() == (schema,)


def test_podman_reads_from_a_published_file_what_a_shell_does(deployed: Deployed) -> None:
    place: Place = {"host": "db1.example", "root": "/srv/ca.crt"}  # as of a tenant that listens beyond loopback
    told = {variable(one): tenant_url(5501, one, **place) for one in (None, "knowledge")}
    path = deployed.two.directory / "probe.env"
    path.write_text(environment_file(told))
    account = deployed.two.account
    shutil.chown(path, account.name, account.name)
    try:
        printed = account.podman("exec", "--env-file", str(path), deployed.two.name, "env").out
    finally:
        path.unlink()
    found = dict(line.split("=", 1) for line in printed.splitlines() if "DATABASE_URL=" in line)
    assert found == told


def test_psql_takes_statements_from_standard_input(deployed: Deployed) -> None:
    options = ["--tenant", deployed.two.name, "--component", "knowledge"]
    run = deployed.both.local("psql", *options, stdin="\\pset tuples_only\nSELECT current_user, current_schema();\n")
    assert "memory_app_a | knowledge" in run.went_well().out


def test_psql_passes_on_that_a_statement_failed(deployed: Deployed) -> None:
    script = "\\set ON_ERROR_STOP on\nSELECT nonsense;\n"
    run = deployed.both.local("psql", "--tenant", deployed.one.name, stdin=script)
    assert run.code == 3
    assert 'column "nonsense" does not exist' in run.err


def test_logs_are_the_servers(deployed: Deployed) -> None:
    run = deployed.both.local("logs", "--tenant", deployed.one.name).went_well()
    assert run.line("database system is ready to accept connections")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "no tenant given"),
        (["--tenant", "nobody"], "nobody: no such tenant"),
        (["--tenant", "{one}", "--component", "knowledge"], "{one}: it has no component 'knowledge'"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(deployed: Deployed, options: list[str], says: str) -> None:
    filled = [option.format(one=deployed.one.name) for option in options]
    run = deployed.both.local("url", *filled).failed()
    assert run.line(says.format(one=deployed.one.name)), run.said
    assert run.line("HINT: "), run.said
    assert run.out == ""


def test_a_tenant_that_is_not_deployed_yet_has_no_url(deployed: Deployed) -> None:
    tenant = deployed.site.tenant("later")
    run = deployed.site.inventory(tenant).local("url", "--tenant", tenant.name).failed()
    assert run.line("HINT: run make deploy first"), run.said
