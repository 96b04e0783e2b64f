"""What looks after a tenant keeps it up, and lets go of it when it is told to: the same promises on podman 4 and 5."""

from __future__ import annotations

import json
import time

import pytest

from pgberth.model import layout
from tests.deploy.product import Run
from tests.hosts.commands import wait_for
from tests.hosts.fleet import ACCOUNT, TenantContext
from tests.hosts.standing import Place

pytestmark = pytest.mark.sampled(1)

VOLUME = "$(podman volume inspect --format {{.Mountpoint}} two-data-g1)"


@pytest.fixture
def two(place: Place) -> TenantContext:
    """The tenant that is knocked about."""
    return place.berths[1]


def unit(place: Place, name: str) -> str:
    return place.systemctl("show", f"--property={name}", "--value", "pgberth-two.service")


def active(place: Place) -> str:
    return place.systemctl("is-active", "pgberth-two.service", check=False)


def state(two: TenantContext, name: str) -> str:
    return two.podman("container", "inspect", "--format", f"{{{{.State.{name}}}}}", two.name, check=False).strip()


def identity(two: TenantContext) -> str:
    """The container's, "" while there is none."""
    return two.podman("container", "inspect", "--format={{.Id}}", two.name, check=False).strip()


def as_account(two: TenantContext, command: str) -> str:
    return two.host.run(command, ACCOUNT).out


def deployed(place: Place, *options: str) -> Run:
    return place.fleet.provision("--limit", "two", *options)


def changed(run: Run) -> bool:
    return "container runs: two" in run.went_well().changes


HARDENED = {
    "CapDrop": True,
    "Privileged": False,
    "ReadonlyRootfs": True,
    "no-new-privileges": True,
    "published": [("5432/tcp", "127.0.0.1", "5502")],
    "User": "101:101",
    "Entrypoint": "/etc/pgberth/guard.sh",
    "StopTimeout": 60,
    "StopSignal": 2,
    "LogDriver": "k8s-file",
    "environment": set(),
    "mounts": {
        ("/etc/pgberth", f"/home/{ACCOUNT}/{layout.etc('two')}", False),
        ("/var/lib/postgresql", "two-data-g1", True),
    },
    "tmpfs": {"/dev/shm", "/run/postgresql", "/tmp"},
}


def hardened(inspected: dict[str, object]) -> dict[str, object]:
    """What podman itself tells of the container's closures, in one form for podman 4 and 5."""
    told = json.loads(json.dumps(inspected))
    host, config = told["HostConfig"], told["Config"]
    entry = config["Entrypoint"]
    image = {"PATH", "TERM", "container", "HOME", "HOSTNAME", "LANG", "LC_ALL"}  # the image's, and podman's own
    created = config["CreateCommand"]
    return {
        "CapDrop": bool(host["CapDrop"]) and not told["EffectiveCaps"] and not told["BoundingCaps"],
        "Privileged": host["Privileged"],
        "ReadonlyRootfs": host["ReadonlyRootfs"],
        "no-new-privileges": "no-new-privileges" in host["SecurityOpt"],
        "published": [
            (port, to["HostIp"], to["HostPort"]) for port, ends in host["PortBindings"].items() for to in ends or ()
        ],
        "User": config["User"],
        "Entrypoint": entry if isinstance(entry, str) else " ".join(entry),
        "StopTimeout": config["StopTimeout"],
        "StopSignal": {"SIGINT": 2}.get(config["StopSignal"], config["StopSignal"]),
        "LogDriver": host["LogConfig"]["Type"],
        "environment": {name.partition("=")[0] for name in config["Env"]} - image,
        "mounts": {(it["Destination"], it.get("Name") or it["Source"], it["RW"]) for it in told["Mounts"]},
        "tmpfs": {
            word.split("destination=")[1].split(",")[0] for word in created if word.startswith("--mount=type=tmpfs")
        },
    }


def test_podman_tells_the_same_closures_under_every_supervisor(two: TenantContext) -> None:
    assert hardened(two.container()) == HARDENED
    kernel = two.podman("exec", two.name, "cat", "/proc/1/status")
    told = dict(line.split(":\t", 1) for line in kernel.splitlines())
    assert {told[name] for name in ("CapEff", "CapBnd", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
    assert (told["NoNewPrivs"], told["Seccomp"], told["Uid"].split()) == ("1", "2", ["101"] * 4)
    mounts = {
        line.split()[1]: line.split()[3].split(",")
        for line in two.podman("exec", two.name, "cat", "/proc/mounts").splitlines()
    }
    assert "ro" in mounts["/"]
    for place in ("/tmp", "/run/postgresql", "/dev/shm"):
        assert {"rw", "nosuid", "nodev", "noexec"} <= set(mounts[place]), (place, mounts[place])


def test_health_is_a_query_that_leaves_no_line_in_the_log(two: TenantContext) -> None:
    before = two.podman("logs", two.name, "2>&1")
    two.podman("healthcheck", "run", two.name)
    assert state(two, "Health.Status") == "healthy"
    assert two.podman("logs", two.name, "2>&1") == before


def test_a_server_that_crashes_is_started_again_with_all_that_was_committed(place: Place, two: TenantContext) -> None:
    two.superuser("CREATE TABLE IF NOT EXISTS public.kept (at text); INSERT INTO public.kept VALUES ('before')")
    before = state(two, "Pid")
    as_account(two, f"kill -9 {before}")
    wait_for("a new server", lambda: "" if state(two, "Pid") not in (before, "", "0") else "none", 60)
    two.wait_until_running()
    assert two.superuser("SELECT at FROM public.kept") == "before"
    two.superuser("DROP TABLE public.kept")
    assert active(place) == "active"
    # The log has the former life, too: it is how anybody finds out.
    assert "database system was not properly shut down" in two.podman("logs", two.name, "2>&1")
    place.fleet.verify().went_well()


def test_a_monitor_that_is_killed_takes_nothing_down_for_long(place: Place, two: TenantContext) -> None:
    before = state(two, "Pid")
    as_account(two, f"kill -9 {state(two, 'ConmonPid')}")
    wait_for("a new server", lambda: "" if state(two, "Pid") not in (before, "", "0") else "none", 60)
    two.wait_until_running()
    assert active(place) == "active"
    monitors = as_account(two, "pgrep -fc -- '^[^ ]*conmon .* -n two '").strip()
    assert monitors == "1"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("how", ["systemctl --user restart pgberth-two.service", "podman restart two"])
def test_a_person_may_restart_it(place: Place, two: TenantContext, how: str) -> None:
    before = identity(two)
    as_account(two, how)
    # podman's own restart runs outside of the unit, which takes the tenant in again.
    wait_for("the unit's own container", lambda: "" if identity(two) not in (before, "") else "none", 60)
    two.wait_until_running()
    assert active(place) == "active"
    place.fleet.verify("--limit", "two").went_well()


def test_a_person_may_stop_it_and_the_next_deploy_starts_it(place: Place, two: TenantContext) -> None:
    for stop in ("podman stop two", "systemctl --user stop pgberth-two.service"):
        as_account(two, stop)
        wait_for("the end", lambda: "" if active(place) == "inactive" else active(place), 60)
        assert not two.running()
        place.fleet.verify("--limit", "two").failed()
        assert changed(deployed(place))
        assert two.running()
    deployed(place).changed_nothing()


def test_the_guards_refusal_is_final_and_the_deploy_says_it(place: Place, two: TenantContext) -> None:
    place.systemctl("stop", "pgberth-two.service")
    marker = f"{VOLUME}/{layout.MARKER}"
    as_account(two, f'sed -i s/\\"two\\"/\\"globex\\"/ {marker}')
    place.systemctl("start", "pgberth-two.service", check=False)
    wait_for("the refusal", lambda: "" if active(place) == "failed" else active(place), 60)
    assert (unit(place, "ExecMainStatus"), unit(place, "NRestarts")) == ("76", "0")
    run = deployed(place).failed()
    assert run.line("two: its volume two-data-g1 was initialised for another: ", "globex"), run.err
    assert run.line("HINT: nothing was started; runbooks/foreign-volume.md"), run.err
    as_account(two, f"mv {marker} {marker}.kept")
    run = deployed(place).failed()
    assert run.line("two: its volume two-data-g1 has no marker"), run.err
    as_account(two, f'mv {marker}.kept {marker}; sed -i s/\\"globex\\"/\\"two\\"/ {marker}')
    assert changed(deployed(place))


def test_a_lost_unit_is_red_and_written_again_while_the_tenant_runs_on(place: Place, two: TenantContext) -> None:
    before, files = state(two, "Pid"), place.units("two")
    as_account(two, f"rm {' '.join(files)}; systemctl --user daemon-reload")
    run = place.fleet.verify("--limit", "two").failed()
    assert run.line("two: RED container-supervised: the file of pgberth-two.service is gone"), run.err
    assert changed(deployed(place))
    assert (place.units("two"), state(two, "Pid"), active(place)) == (files, before, "active")
    place.fleet.verify("--limit", "two").went_well()


def test_a_half_made_unit_and_container_are_made_whole(place: Place, two: TenantContext) -> None:
    place.systemctl("stop", "pgberth-two.service")
    as_account(two, f"printf '[Unit]\\n[Contai' > {place.unit_file('two')}; touch {place.unit_file('two')}.new")
    image = as_account(two, "podman images --quiet").split()[0]
    as_account(two, f"podman create --name=two --label={layout.TENANT_LABEL}=two --entrypoint=/bin/true {image}")
    assert changed(deployed(place))
    assert active(place) == "active"
    assert not [file for file in place.units("two") if file.endswith(".new")]
    deployed(place).changed_nothing()


def test_it_goes_to_another_supervisor_and_back_with_its_data(place: Place, two: TenantContext) -> None:
    system, files = two.superuser("SELECT system_identifier FROM pg_control_system()"), place.units("two")
    machine = layout.MACHINE_FILE
    for without in (True, False):
        now, then = ("true", "false") if without else ("false", "true")
        as_account(two, f"""sed -i 's/"units": {now}/"units": {then}/' {machine}""")
        run = deployed(place).changed_nothing()
        assert run.line("two: pending: recycle (supervisor "), run.err
        as_account(two, "podman stop two")
        assert changed(deployed(place))
        assert place.units("two") == ([] if without else files)
        assert active(place) == ("inactive" if without else "active")
        assert two.superuser("SELECT system_identifier FROM pg_control_system()") == system
        deployed(place).changed_nothing()
    assert place.systemctl("--failed", "--no-legend", "--plain") == ""


def test_a_volume_that_is_gone_is_never_replaced_by_an_empty_one(place: Place, two: TenantContext) -> None:
    place.systemctl("stop", "pgberth-two.service")
    as_account(two, "podman volume rm two-data-g1")
    began = time.monotonic()
    place.systemctl("start", "pgberth-two.service", check=False)
    wait_for("systemd to give up", lambda: "" if active(place) == "failed" else active(place), 60)
    assert time.monotonic() - began < 60
    run = deployed(place).failed()
    assert run.line("two: its volume two-data-g1 is gone"), run.err
    assert run.line("HINT: nothing was started, and no empty one was made", "runbooks/volume-is-gone.md"), run.err
    assert "two-data-g1" not in as_account(two, "podman volume ls").split()
    # What the page says, where there is no copy.
    as_account(two, f"mv {layout.spec_file('two')} two-spec.json")
    assert changed(deployed(place))
    place.fleet.verify("--limit", "two").went_well()
