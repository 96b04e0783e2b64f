"""
A user without root: told at once all that an administrator must do, and then a deploy that needs nobody.

The user is made for this, on a machine that has all the packages and nothing else for that user.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.account import Account, Ended, throwaway
from tests.deploy.processes import kill, processes
from tests.deploy.product import BUILDING, REPO
from tests.deploy.site import Site, give_image
from tests.deploy.tenant import Tenant
from tests.sampling import ALL


@dataclass(frozen=True)
class PlainUser:
    """A user with a copy of the product, and an interpreter and libraries that this user may read."""

    account: Account
    python: str
    libraries: Path
    tenant: Tenant
    inventory: Path

    @property
    def tree(self) -> Path:
        return self.account.home / "pgberth"

    def run(self, *arguments: str) -> Ended:
        where = {"PYTHONPATH": f"{self.tree / 'deploy'}:{self.libraries}"}
        command = (self.python, "-m", *arguments)
        return self.account.run(*command, check=False, timeout=BUILDING, cwd=self.tree, environment=where)

    def deploy(self, verb: str = "provision") -> Ended:
        return self.run("pyinfra", "-y", str(self.inventory), f"deploy/{verb}.py")

    def belongings(self) -> set[Path]:
        """All files of the user but the cache of renderings, which whoever runs pyinfra has and no machine."""
        cache = self.account.home / ".cache"
        return {path for path in self.account.home.rglob("*") if path != cache and cache not in path.parents}


@pytest.fixture(scope="module")
def user(root: None) -> Iterator[PlainUser]:
    with throwaway("plain") as account:
        nothing = ("-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0")
        subprocess.run(["useradd", "--create-home", "--shell=/bin/sh", *nothing, account.name], check=True)
        for part in ("deploy", "templates"):
            shutil.copytree(REPO / part, account.home / "pgberth" / part, ignore=shutil.ignore_patterns("__pycache__"))
        python, libraries = interpreter(account), libraries_for(account)
        places = account.home / "inventories"
        places.mkdir(mode=0o755)
        site = Site(account, places)
        tenant = site.tenant("one")
        yield PlainUser(account, python, libraries, tenant, site.inventory(tenant).path)


def interpreter(account: Account) -> str:
    """This Python, or another of its version where the user may not enter its directory."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/local/bin/python{version}", f"/usr/bin/python{version}"):
        if account.run("sh", "-c", '"$0" -c "import ssl"', candidate, check=False).code == 0:
            return candidate
    pytest.skip(f"an unprivileged user has no Python {version} here that it may run")


def libraries_for(account: Account) -> Path:
    """The libraries the tests run with; a copy where the user may not enter their directory."""
    installed = Path(sysconfig.get_path("purelib"))
    if account.run("test", "-r", str(installed / "pyinfra/__init__.py"), check=False).code == 0:
        return installed
    return shutil.copytree(installed, account.home / "libraries", copy_function=link_or_copy)


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def administrator_commands(told: str) -> list[str]:
    """The commands that the refusal tells an administrator to run, as they would be pasted."""
    lines = [re.sub(r"^ *\[@local\] *", "", line) for line in told.splitlines()]
    begins = [number for number, line in enumerate(lines) if line.endswith("an administrator runs, as root:")]
    ends = [number for number, line in enumerate(lines) if line.startswith("then run the deploy again")]
    assert len(begins) == len(ends) == 1, told
    return lines[begins[0] + 1 : ends[0]]


@pytest.fixture(scope="module")
def refusal(user: PlainUser) -> Ended:
    before = user.belongings()
    ended = user.deploy()
    assert user.belongings() == before
    return ended


def test_what_is_missing_is_listed_all_at_once_and_nothing_is_touched(user: PlainUser, refusal: Ended) -> None:
    assert refusal.code == 1
    assert "Traceback" not in refusal.said
    commands = administrator_commands(refusal.said)
    assert [command for command in commands if "--add-subuids" in command and user.account.name in command]
    assert [command for command in commands if "--add-subgids" in command and user.account.name in command]
    assert user.account.name not in Path("/etc/subuid").read_text()
    assert not Path(f"/run/user/{user.account.uid}").exists() or Path("/run/systemd/system").is_dir()


@pytest.fixture(scope="module")
def deployed(request: pytest.FixtureRequest, user: PlainUser, refusal: Ended) -> Ended:
    """The administrator does exactly what was printed, once, and the user deploys again. A whole run builds."""
    script = "\n".join(administrator_commands(refusal.said))
    subprocess.run(["/bin/sh", "-ec", script], check=True, capture_output=True)
    if not ALL:
        give_image(request.getfixturevalue("site").account, user.account)
    return user.deploy()


def test_after_those_commands_the_deploy_needs_no_root(user: PlainUser, deployed: Ended) -> None:
    assert deployed.code == 0, deployed.said
    with user.tenant.connect() as app:
        assert app.execute("SELECT current_schema()").fetchone() == ("memory_plugin",)
    again = user.deploy()
    assert again.code == 0, again.said
    assert re.search(r"Grand total +\d+ +- +- ", again.said), again.said  # success and error
    assert user.deploy("verify").code == 0


def test_after_all_processes_of_the_user_were_killed_one_deploy_brings_the_tenant_back(
    user: PlainUser, deployed: Ended
) -> None:
    while running := list(processes(user.account.uid)):
        for process in running:
            kill(process.pid)
    again = user.deploy()
    assert again.code == 0, again.said
    assert user.deploy("verify").code == 0


def test_the_users_own_podman_configuration_is_never_edited(user: PlainUser, deployed: Ended) -> None:
    assert not (user.account.home / ".config/containers").exists()


def test_the_user_cleans_up_and_stays(user: PlainUser, deployed: Ended) -> None:
    clean = ("pgberth.cli", "clean", "--inventory", str(user.inventory), "--yes")
    ended = user.run(*clean)
    assert ended.code == 0, ended.said
    assert user.account.podman("ps", "--all", "--quiet").out == ""
    assert user.account.podman("volume", "ls", "--quiet").out == ""
    assert user.account.exists
    assert user.inventory.is_file()
