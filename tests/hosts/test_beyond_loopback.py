"""A tenant that listens beyond loopback: over TLS alone, and a client elsewhere can tell that it is this server."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from pgberth.database import certificate, tls
from pgberth.model.listen import Listen
from tests.deploy.product import Inventory, Run
from tests.hosts.fixtures import factory
from tests.hosts.fleet import ACCOUNT, TenantContext, inventory, provisioned
from tests.hosts.room import Room
from tests.hosts.standing import PODMAN

pytestmark = pytest.mark.sampled(1, of="opened")

TENANT = ".local/share/pgberth/tenants/open"


@dataclass(frozen=True)
class Open:
    """A host with one tenant, made before it was to listen anywhere; `fleet` is the inventory in which it does."""

    context: TenantContext
    place: Path
    fleet: Inventory

    def read(self, path: str) -> str:
        return self.context.host.run(f"cat {TENANT}/{path}", ACCOUNT).out

    def listening(self, **more: str) -> Inventory:
        told = ", ".join(f"{name}={value!r}" for name, value in more.items())
        listen = f"listen=Listen({self.context.host.address!r}{', ' if told else ''}{told})"
        context = replace(self.context, fields=f"{self.context.fields}, {listen}")
        return inventory(self.place, [context])

    def url(self, trusted: str = "tls/ca.crt") -> str:
        """As it is published, for a client elsewhere that has been given the authority's certificate."""
        given = self.place / "ca.crt"
        given.write_text(self.read(trusted))
        found = re.findall(r"^MEMORY_PLUGIN_DATABASE_URL=(.*)$", self.read("connection.env"), re.MULTILINE)
        return re.sub(r"sslrootcert=[^&]*", f"sslrootcert={given}", found[-1])

    def shown(self) -> str:
        return tls.shown((self.context.host.address, self.context.port))

    @property
    def file(self) -> str:
        return f"etc/{Listen(self.context.host.address).file}"


@pytest.fixture(scope="module", params=list(PODMAN), ids=list(PODMAN.values()))
def opened(request: pytest.FixtureRequest, room: Room, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    for boot in factory(room):
        context = TenantContext("open", boot(f"open{request.param}", request.param), 5501)
        place = tmp_path_factory.mktemp("fleet")
        provisioned(inventory(place, [context]))
        made = Open(context, place, Inventory(Path()))
        yield replace(made, fleet=made.listening())


def answered(url: str) -> str:
    with psycopg.connect(url, connect_timeout=10) as session:
        row = session.execute("SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert row is not None
        return str(row[0])


def refused(url: str) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(url, connect_timeout=10).close()
    return str(caught.value)


def plain(opened: Open, host: str) -> str:
    return re.sub(r"@[^:]*:", f"@{host}:", re.sub(r"sslmode=[^&]*&sslrootcert=[^&]*", "sslmode=disable", opened.url()))


def test_a_running_tenant_goes_on_as_it_was_until_it_is_recycled(opened: Open) -> None:
    run = opened.fleet.provision().went_well()
    assert run.line("open", f"pending: recycle (listen None -> {opened.context.host.address} at "), run.said
    opened.context.superuser("SELECT 1")
    opened.fleet.verify().went_well()
    assert f"{opened.context.host.address}:{opened.context.port} " not in opened.context.host.run("ss -Hltn").out


def test_recycled_it_lets_clients_in_that_check_its_certificate(opened: Open) -> None:
    opened.fleet.verb("recycle", seconds=300).went_well()
    url = opened.url()
    assert f"@{opened.context.host.address}:{opened.context.port}/memory" in url
    assert "sslmode=verify-full" in url
    assert answered(url) == "true"
    opened.fleet.provision().changed_nothing()
    opened.fleet.verify().went_well()


ENVIRONMENT_READERS = {
    "sh": "sh -c 'set -a; . ./{file}; env'",
    "systemd": "systemd-run --user --quiet --wait --pipe --property=EnvironmentFile=$PWD/{file} env",
    "podman": "podman exec --env-file {file} open env",
}


@pytest.mark.parametrize("reader", ENVIRONMENT_READERS)
def test_shells_systemd_and_podman_read_the_same_urls_from_the_published_file(opened: Open, reader: str) -> None:
    command = ENVIRONMENT_READERS[reader].format(file="connection.env")
    found = opened.context.host.run(f"cd {TENANT} && {command}", ACCOUNT).out
    urls = dict(line.split("=", 1) for line in found.splitlines() if "DATABASE_URL=" in line)
    published = {line for line in opened.read("connection.env").splitlines() if "DATABASE_URL=postgresql" in line}
    assert {f"{name}={url}" for name, url in urls.items()} == published  # podman gives them in any order
    assert all("sslmode=verify-full&sslrootcert=" in url for url in urls.values())


def test_nobody_comes_in_without_tls_from_anywhere(opened: Open) -> None:
    assert "no encryption" in refused(plain(opened, opened.context.host.address))
    assert "no encryption" in inside(opened, "disable")
    assert inside(opened, "require") == "1\n"


def inside(opened: Open, sslmode: str) -> str:
    """What psql in the container's own network is told."""
    password = opened.read("secrets/app-v1").strip()
    told = f"-e PGSSLMODE={sslmode} -e PGPASSWORD={password}"
    command = f"podman exec {told} open psql -XAtq -h 127.0.0.1 -U memory_app_a -d memory -w -c 'SELECT 1'"
    return opened.context.host.run(command, ACCOUNT, check=False).said


def test_a_client_that_trusts_another_authority_hangs_up(opened: Open) -> None:
    other = opened.place / "other.crt"
    other.write_text(certificate.first(certificate.authority("open", datetime.now(UTC))))
    url = re.sub(r"sslrootcert=[^&]*", f"sslrootcert={other}", opened.url())
    assert "SSL error" in refused(url)


def test_the_authority_s_key_and_the_server_s_are_their_owner_s_alone(opened: Open) -> None:
    modes = opened.context.host.run(f"stat -c '%a %n' {TENANT}/tls/* {TENANT}/{opened.file} {TENANT}", ACCOUNT).out
    assert {line.split()[0] for line in modes.splitlines()} <= {"600", "700"}
    inside = opened.context.podman("exec", "open", "sh", "-c", "'cat /etc/pgberth/*.pem | grep -c BEGIN.PRIVATE'")
    assert inside.strip() == "1"  # its own; the authority's lies elsewhere


def test_a_certificate_that_runs_out_is_renewed_under_a_session_that_stays(opened: Open) -> None:
    listen = Listen(opened.context.host.address)
    almost = certificate.issued(listen, opened.read("tls/ca.pem"), datetime.now(UTC) - timedelta(days=390))
    opened.context.host.run(f"cat > {TENANT}/{opened.file}", ACCOUNT, stdin=almost)
    opened.context.superuser("SELECT pg_reload_conf()")
    with psycopg.connect(opened.url()) as session:
        told = opened.fleet.verify().went_well()
        assert told.line("open: the certificate it shows runs out on ", "certificate-is-refused.md"), told.said
        before = opened.shown()
        said = opened.fleet.provision("-vvv", "--diff").went_well().said
        assert opened.shown() != before
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert answered(opened.url()) == "true"
    for file in ("tls/ca.pem", opened.file):
        _, begin, key = opened.read(file).partition("-----BEGIN PRIVATE KEY-----\n")
        assert begin
        assert key.splitlines()[0] not in said
    opened.fleet.verify().went_well()


def test_what_a_killed_run_wrote_is_taken_up_by_the_next(opened: Open) -> None:
    listen = Listen(opened.context.host.address)
    written = certificate.issued(listen, opened.read("tls/ca.pem"), datetime.now(UTC))
    opened.context.host.run(f"cat > {TENANT}/{opened.file}", ACCOUNT, stdin=written)
    hba = f"{TENANT}/etc/pg_hba_tls.conf"
    right = opened.context.host.run(f"cat {hba}; sed -i s/^hostssl/host/ {hba}", ACCOUNT).out
    opened.context.superuser("SELECT pg_reload_conf()")
    time.sleep(1.1)  # the server tells a file's time in whole seconds
    opened.context.host.run(f"cat > {hba}", ACCOUNT, stdin=right)
    red = opened.fleet.verify().failed()
    assert red.line("open: hba: pg_hba.conf was written after the server read it"), red.said
    opened.fleet.provision().went_well()
    assert opened.shown() == certificate.first(written)
    assert "no encryption" in refused(plain(opened, opened.context.host.address))
    opened.fleet.provision().changed_nothing()


def test_a_line_that_lets_plain_sessions_in_turns_its_check_red_and_a_deploy_closes_it(opened: Open) -> None:
    hba = f"{TENANT}/etc/pg_hba_tls.conf"
    opened.context.host.run(f"sed -i s/^hostssl/host/ {hba}", ACCOUNT)
    opened.context.superuser("SELECT pg_reload_conf()")
    red = opened.fleet.verify().failed()
    assert red.line("open: tls-only: memory_suite was let in without TLS"), red.said
    opened.fleet.provision().went_well()
    assert "no encryption" in refused(plain(opened, opened.context.host.address))


NAME = "db.example.test"


def from_elsewhere(opened: Open, since: datetime) -> dict[str, str]:
    """Kind -> file, of a certificate from elsewhere for the tenant's name that was issued then, for 397 days."""
    theirs = certificate.authority("somebody", since)
    whole = certificate.issued(Listen(opened.context.host.address, NAME), theirs, since)
    texts = {"certificate": certificate.first(whole), "key": whole[whole.index("-----BEGIN PRIVATE") :]}
    texts["ca"] = certificate.first(theirs)
    for kind, text in texts.items():
        (opened.place / f"{kind}.pem").write_text(text)
    return {kind: str(opened.place / f"{kind}.pem") for kind in texts}


def test_a_certificate_from_elsewhere_is_taken_and_the_wrong_ones_are_refused_together(opened: Open) -> None:
    name, told = NAME, from_elsewhere(opened, datetime.now(UTC))
    before = opened.shown()
    wrong = opened.listening(name="other.example.test", **told).provision().failed()
    assert wrong.line(f"open: certificate {told['certificate']} is not for other.example.test"), wrong.said
    assert opened.shown() == before
    desired = opened.listening(name=name, **told)
    assert desired.provision().went_well().line("open", f"-> {name} at "), "it is not said to be pending"
    assert opened.shown() == before  # clients have been told of it, and of no other
    desired.verb("recycle", seconds=300).went_well()
    assert opened.shown() == Path(told["certificate"]).read_text()
    url = opened.url("tls/given.crt")
    assert f"@{name}:" in url
    assert answered(f"{url}&hostaddr={opened.context.host.address}") == "true"
    desired.provision().changed_nothing()


@pytest.mark.parametrize("step", ["recorded", "swapped"])
def test_six_days_before_its_end_a_recycle_that_was_killed_ends_without_a_restart(opened: Open, step: str) -> None:
    told = from_elsewhere(opened, datetime.now(UTC) - timedelta(days=391))
    desired = opened.listening(name=NAME, **told)
    assert desired.provision().went_well().line("open: the certificate it shows runs out on ")
    dead = desired.verb("recycle", seconds=300, PGBERTH_KILL_AT=f"recycle.{step}")
    assert dead.code == -signal.SIGKILL, dead.said
    before = opened.context.container()["Id"]
    run = desired.provision().went_well()
    assert run.line("open: an interrupted recycle was ended"), run.said
    good = from_elsewhere(opened, datetime.now(UTC))
    desired.provision().went_well()
    assert opened.shown() == Path(good["certificate"]).read_text()
    desired.provision().changed_nothing()
    assert opened.context.container()["Id"] == before


def test_a_tenant_goes_back_to_loopback_alone(opened: Open) -> None:
    usual = inventory(opened.place, [opened.context])
    assert usual.provision().went_well().line("open", "-> None)"), "it is not said to be pending"
    usual.verb("recycle", seconds=300).went_well()
    bound = opened.context.host.run("ss -Hltn").out
    assert f"{opened.context.host.address}:{opened.context.port} " not in bound
    assert f"127.0.0.1:{opened.context.port} " in bound
    assert "verify-full" not in opened.read("connection.env")
    usual.provision().changed_nothing()


def test_a_recycle_without_its_certificate_is_refused_before_the_server_is_stopped(opened: Open) -> None:
    before = opened.context.container()["Id"]
    refused = opened.listening(name="new.example.test").verb("recycle", seconds=300).failed()
    assert refused.line("open: it has no certificate yet for new.example.test"), refused.said
    assert opened.context.container()["Id"] == before


def test_an_address_that_is_none_of_the_machine_s_is_refused_before_anything_is_made(opened: Open) -> None:
    stray = replace(opened.context, name="stray", port=5502)
    stray = replace(stray, fields=f'{stray.fields}, listen=Listen("192.0.2.7")')
    run: Run = inventory(opened.place, [stray]).provision().failed()
    assert run.line("stray: its listen address 192.0.2.7 is not an address of "), run.said
    assert opened.context.host.run("ls .local/share/pgberth/tenants", ACCOUNT).out.split() == ["open"]
