"""
The release before this tree, from its wheel in tests/releases: unpacked beside the product, never installed over it.

It runs with its directory first on PYTHONPATH. importlib.metadata takes the first distribution of each name on that
path, so that pyinfra loads the connectors of that release, whatever the environment has installed.
"""

from __future__ import annotations

import compileall
import secrets
import zipfile
from pathlib import Path

from tests.deploy.product import REPO, Inventory
from tests.deploy.site import Site
from tests.deploy.tenant import Tenant

# The module of each verb that the tests run. The wheel has no deploy files: 0.1.0 has them in a checkout alone.
VERBS = {verb: f"pgberth.verbs.{verb}" for verb in ("provision", "verify", "recycle", "rotate", "register_model")}
# Its connectors, as its metadata names them.
CONNECTORS = {
    "tenant": "pgberth.connector:TenantConnector",
    "tenant-ssh": "pgberth.remote:RemoteTenantConnector",
    "machine-ssh": "pgberth.remote:MachineConnector",
}
# An inventory in its form. This tree must read the same file.
_INVENTORY = """from pgberth.model import ALL, Image, Listen, machine, tenant
_image = {image}
_here = machine("@local", account="{account}")
machines = [_here.host]
"""


def install(place: Path) -> Path:
    """
    Lay out a tree like a checkout of that release, for `Inventory(path, tree)`.

    pip, too, only unpacks a wheel of pure Python; this needs no pip and no network. The deploy files must lie beside
    the package: by their directory that release recognises its own verbs.
    """
    (wheel,) = (REPO / "tests/releases").glob("pgberth-*.whl")
    deploy = place / "deploy"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(deploy)
    for verb, module in VERBS.items():
        (deploy / f"{verb}.py").write_text(f"from {module} import {verb}\n\n{verb}()\n")
    # pyinfra writes no bytecode: without this each run would compile the release again.
    compileall.compile_dir(deploy / "pgberth", quiet=1)
    return place


def line(tenant: Tenant, listen: str = "") -> str:
    """The tenant's line in an inventory. + listen: an address beyond loopback; "" for none"""
    return tenant.line().removesuffix(")") + (f", listen=Listen({listen!r}))" if listen else ")")


def inventories(site: Site, tree: Path, **rings: str) -> tuple[Inventory, Inventory]:
    """One file for that release and for this tree. + rings: ring -> the line of its tenant"""
    head = _INVENTORY.format(account=site.account.name, image=site.image)
    path = site.places / f"last_release_{secrets.token_hex(4)}.py"
    path.write_text(head + "".join(f"{ring} = [{tenant}]\n" for ring, tenant in rings.items()))
    return Inventory(path, tree), Inventory(path)
