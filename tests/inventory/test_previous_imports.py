"""What inventories of the release before this one import still means what it meant."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.deploy.product import REPO

# In a process of its own, since what a name of a package means depends on what was imported before.
SCRIPT = """
import importlib, json, sys
first, imports = json.loads(sys.argv[1])
if first:
    importlib.import_module(first)
scope = {}
exec(imports, scope)
from pgberth import inventory
from pgberth.inventory.fleet_file import fleet_beside
meant = {**{name: getattr(inventory, name) for name in inventory.__all__}, "fleet_beside": fleet_beside}
print(json.dumps([name for name, value in scope.items() if name != "__builtins__" and value is not meant[name]]))
"""
IMPORTS = (
    "from pgberth.model import ALL, Image, Listen, Sidecar, machine, tenant",
    "from pgberth.verbs.fleet_file import fleet_beside",
)


# A module in that package has the name of a function that those inventories import.
@pytest.mark.parametrize("first", ["", "pgberth.model.tenant"])
@pytest.mark.parametrize("imports", IMPORTS)
def test_an_import_of_0_1_0_gives_what_it_gave(first: str, imports: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO / "deploy")}
    command = [sys.executable, "-W", "error", "-c", SCRIPT, json.dumps([first, imports])]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == []
