"""Reads the YAML file beside an inventory file into the groups of hosts that pyinfra expects of an inventory."""

from __future__ import annotations

from pathlib import Path

from pgberth.inventory.fleet_yaml import Groups, groups_from
from pgberth.model.problems import Refused


def fleet_beside(inventory: str) -> Groups:
    """
    Group -> its hosts, from `prod.yaml` beside `prod.py`. The inventory file adds them to its globals.

    Raises Refused where the file cannot be read.
    """
    path = Path(inventory).with_suffix(".yaml")
    name = f"{path.parent.name}/{path.name}"
    try:
        return groups_from(path.read_text(encoding="utf-8"), name)
    except OSError as error:
        fact, hint = f"{name} cannot be read: {error.strerror}", "put it beside the inventory file, under the same name"
        raise Refused.because(fact, hint) from None
    except UnicodeDecodeError as error:
        fact = f"{name} is not UTF-8: {error.reason} at byte {error.start}"
        raise Refused.because(fact, "save it as UTF-8") from None
