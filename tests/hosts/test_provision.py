"""From a fresh host over SSH to proven tenants, which come back by themselves after a reboot."""

from __future__ import annotations

from tests.hosts.fleet import ACCOUNT
from tests.hosts.image import TRIXIE
from tests.hosts.standing import Place


def test_a_second_deploy_changes_nothing(place: Place, measured: dict[str, float]) -> None:
    second = place.fleet.provision().changed_nothing()
    measured[f"{place.suite}: second deploy of two tenants"] = second.seconds
    assert second.line("one ", "passed"), second.err


def test_every_check_is_green_over_ssh(place: Place) -> None:
    place.fleet.verify().changed_nothing()


def test_the_supervisor_is_the_one_that_the_machine_s_facts_call_for(place: Place) -> None:
    desired = {place.unit_file("one")}
    if place.suite != TRIXIE:
        desired |= {".config/systemd/user/default.target.wants/pgberth-one.service"}
    assert set(place.units("one")) == desired
    assert place.systemctl("is-active", "pgberth-one.service", "pgberth-two.service").split() == ["active", "active"]
    # Nothing of it waits for a network, or the first start would take 90 s where nobody announces one.
    assert "network-online" not in place.systemctl("show", "--property=After,Wants,Requires", "pgberth-one.service")


def test_status_says_that_limits_are_not_enforced_where_there_is_no_controller_for_them(place: Place) -> None:
    host = place.berths[0].host
    delegated = host.run("cat /sys/fs/cgroup/user.slice/user-$(id -u).slice/cgroup.controllers", ACCOUNT).out.split()
    run = place.fleet.status().went_well()
    said = bool(run.line("one: memory and pids limits are not enforced"))
    assert said is not ({"memory", "pids"} <= set(delegated)), (delegated, run.err)


def test_tenants_come_back_by_themselves_after_a_reboot(place: Place, measured: dict[str, float]) -> None:
    host = place.berths[0].host
    identity = place.berths[0].superuser("SELECT system_identifier FROM pg_control_system()")
    measured[f"{place.suite}: reboot"] = host.reboot()
    for context in place.berths:
        context.wait_until_running()
    verified = place.fleet.verify().went_well()
    measured[f"{place.suite}: from the end of the boot to a green verify of all"] = verified.seconds
    assert place.berths[0].superuser("SELECT system_identifier FROM pg_control_system()") == identity
    assert place.systemctl("--failed", "--no-legend", "--plain") == ""
    place.fleet.provision().changed_nothing()
