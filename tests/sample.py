"""One tenant, acme, as values and as its machine reports it: the shapes are those of a real podman 4.3.1."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pgberth.container.spec import ContainerSpec
from pgberth.container.state import ContainerState, TenantState
from pgberth.database.operations import connection_files
from pgberth.database.settings import desired_settings
from pgberth.machine.facts import MachineProfile
from pgberth.migrations import source
from pgberth.model import layout, scram
from pgberth.model.image import BuiltImage, Image
from pgberth.model.roles import APP_LOGINS, PASSWORD_KINDS
from pgberth.model.spec_file import SpecFile
from pgberth.model.tenant import HEAD, Machine, Tenant
from pgberth.rendering.configuration import reload_files, restart_files
from tests.fake_host import password_in

HOME = "/home/pgberth"
TAG = Image().tag
IMAGE = BuiltImage(
    id="sha256:4b644deb6126187909a8932942ed0289faa0dc4cab536f62da00c61037737876",
    uid=101,
    gid=101,
    bindir="/usr/lib/postgresql/18/bin",
    postgres="18.6",
    pgvector="0.8.7",
    recipe=Image().recipe,
)
READY = MachineProfile(podman="4.3.1", runtime="runc", driver="overlay", limits=False, home=HOME, images={TAG: IMAGE})
ACME = Tenant("acme", Machine("@local"), 5501, {"memory_plugin": HEAD}, Image(), rings=("canary",))
SYSTEM = "7574928371649283746"
MARKER = {"tenant": "acme", "generation": 1, "major": 18, "system_identifier": SYSTEM}
PROCESS = {
    "CapEff": "0000000000000000",
    "CapBnd": "0000000000000000",
    "NoNewPrivs": "1",
    "Seccomp": "2",
}


def spec_of(tenant: Tenant = ACME, ready: MachineProfile = READY) -> ContainerSpec:
    """The container this tenant should have."""
    files = restart_files(tenant)
    return ContainerSpec(tenant, ready.images[TAG], 1, ready.home, ready.podman, ready.limits, files)


def container(tenant: Tenant = ACME, **changes: Any) -> ContainerState:
    """The tenant's container, running the desired spec but for the changes."""
    spec = spec_of(tenant)
    found = ContainerState(
        status="running",
        pid=4711,
        exit_code=0,
        image=spec.image.id,
        labels={
            "pgberth.tenant": tenant.name,
            "pgberth.generation": "1",
            "pgberth.bindir": spec.image.bindir,
            "pgberth.spec": spec.hash,
        },
        mounts=(
            {
                "Type": "volume",
                "Name": layout.volume(tenant.name, 1),
                "Source": f"{HOME}/.local/share/containers/storage/volumes/{tenant.name}-data-g1/_data",
                "Destination": "/var/lib/postgresql",
                "RW": True,
            },
            {
                "Type": "bind",
                "Source": f"{HOME}/{layout.etc(tenant.name)}",
                "Destination": "/etc/pgberth",
                "RW": False,
            },
        ),
        read_only=True,
        privileged=False,
        process=PROCESS,
    )
    return replace(found, **changes)


def spec_file(tenant: Tenant = ACME) -> dict[str, Any]:
    """The JSON object in the tenant's spec file."""
    spec = spec_of(tenant)
    return {
        "tenant": tenant.name,
        "generation": 1,
        "major": 18,
        "hash": spec.hash,
        "rollout": spec.rollout_hash,
        "image": spec.image.id,
        "port": tenant.port,
        "profile": tenant.profile_name,
        "secrets": SpecFile().secret_names,
        "supervisor": "podman",
    }


def files(tenant: Tenant = ACME) -> dict[str, str]:
    """Path below the tenant's directory -> digest, each file as it should be."""
    etc = {f"etc/{name}": text for name, text in {**restart_files(tenant), **reload_files(tenant)}.items()}
    published = connection_files(tenant, SpecFile(), HOME, password_in("app-v1"))
    return {path: hashlib.sha256(text.encode()).hexdigest() for path, text in {**etc, **published}.items()}


def server(tenant: Tenant = ACME, **changes: Any) -> dict[str, Any]:
    """The probe's answer of a tenant that is in order."""
    return {
        "version": "18.6",
        "system_identifier": SYSTEM,
        "data_directory": "/var/lib/postgresql/18/data",
        "checksums": True,
        "vector": "0.8.7",
        "vector_available": "0.8.7",
        "in_recovery": False,
        "verifiers": {role: _verifier(f"{kind}-v1") for role, kind in PASSWORD_KINDS.items()},
        "access": [],
        "app_logins": [APP_LOGINS[0]],
        "ledger": ledger(tenant),
        "findings": [],
        "unread": "",
        "sessions": [],
        "slots": [],
        "hba_errors": [],
        "settings": settings(tenant),
        "config_errors": [],
        "hba_sha256": files(tenant)["etc/pg_hba.conf"],
        "hba_stale": False,
        **changes,
    }


def settings(tenant: Tenant = ACME, **changes: str) -> list[dict[str, str]]:
    """What the server reports of its settings: those of its postgresql.conf, but for the changes."""
    desired = {**desired_settings(restart_files(tenant)["postgresql.conf"]), **changes}
    return [
        {"name": name, "value": value, "unit": "", "context": "sighup", "source": "postgresql.conf"}
        for name, value in desired.items()
    ]


def _verifier(name: str) -> dict[str, Any]:
    made = scram.verifier(password_in(name), bytes(range(16)))
    iterations, salt = made.reveal().split("$")[1].split(":")
    return {"iterations": int(iterations), "salt": salt, "digest": scram.digest(made)}


def ledger(tenant: Tenant = ACME) -> list[dict[str, Any]]:
    """The heads of a ledger in which every file of the tenant's components is applied."""
    return [
        {
            "component": step.component,
            "version": step.version,
            "name": step.name,
            "kind": step.kind,
            "state": "applied",
            "template_sha256": step.template_sha256,
            "rendered_sha256": step.rendered_sha256,
            "parameters": dict(step.parameters),
            "needs": list(step.needs or ()),
        }
        for component in tenant.ordered_components
        for step in source.load(component)
        if not step.missing
    ]


def state(tenant: Tenant = ACME, **changes: Any) -> TenantState:
    """The tenant, in order but for the changes; `spec` may be the JSON object in the spec file."""
    found = TenantState(
        machine_profile=READY,
        spec=SpecFile(spec_file(tenant)),
        secrets=frozenset(SpecFile().secret_names.values()),
        files=files(tenant),
        container=container(tenant),
        unknown="",
        marker={**MARKER, "tenant": tenant.name},
        cluster=SYSTEM,
        answer=server(tenant),
        server_error="",
    )
    if isinstance(changes.get("spec"), dict):
        changes["spec"] = SpecFile(changes["spec"])
    return replace(found, **changes)


ABSENT: Mapping[str, Any] = {
    "spec": {},
    "secrets": frozenset(),
    "files": {},
    "container": None,
    "marker": {},
    "cluster": "",
    "answer": None,
}


def inspected(
    tenant: Tenant = ACME, found: ContainerState | None = None, pid: int | None = None, monitor: int = 4710
) -> str:
    """`podman container inspect` of the tenant's container, cut to what is short."""
    shown = found or container(tenant)
    published = {"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(tenant.port)}]}
    body = {
        "Id": "754e0ae52abba97771354908d11d8d9620ba1dcc2a1581912eecd92520523f31",
        "Path": "/etc/pgberth/guard.sh",
        "Args": ["/usr/lib/postgresql/18/bin", "/var/lib/postgresql/18/data", "/etc/pgberth"],
        "State": {
            "OciVersion": "1.0.2-dev",
            "Status": shown.status,
            "Running": shown.running,
            "Pid": shown.pid if pid is None else pid,
            "ConmonPid": monitor,
            "ExitCode": shown.exit_code,
            "Health": {"Status": "", "FailingStreak": 0, "Log": None},
        },
        "Image": shown.image.removeprefix("sha256:"),
        "ImageName": shown.image,
        "Name": tenant.name,
        "EffectiveCaps": None,
        "BoundingCaps": None,
        "Mounts": [dict(mount) for mount in shown.mounts],
        "NetworkSettings": {"Bridge": "", "Ports": published},
        "Config": {"User": "101:101", "Env": ["PATH=/usr/bin:/bin"], "Labels": dict(shown.labels), "StopSignal": 2},
        "HostConfig": {"Privileged": shown.privileged, "ReadonlyRootfs": shown.read_only, "PidsLimit": 0},
    }
    return json.dumps([body], indent=5)


def observe_output(tenant: Tenant = ACME, found: TenantState | None = None) -> str:
    """observe.sh's whole output for that state."""
    shown = found or state(tenant)
    sections = {
        "machine": shown.machine_profile.to_json() if shown.machine_profile is not None else "",
        "spec": shown.spec.text() if shown.spec else "",
        "secrets": "\n".join(sorted(shown.secrets)),
        "files": "\n".join(f"{digest}  {path}" for path, digest in shown.files.items()),
        "units": "\n".join(f"{digest}  {path}" for path, digest in shown.units.items()),
        "container": inspected(tenant, shown.container) if shown.container is not None else "absent",
    }
    if shown.unknown:
        sections["container"] = f"unknown {shown.unknown}"
    elif shown.container is not None and shown.container.pid:
        sections["process"] = "\n".join(f"{name}:\t{value}" for name, value in shown.container.process.items())
        sections["supervised"] = "yes" if shown.container.supervised else ""
        sections["marker"] = json.dumps(dict(shown.marker))
        sections["cluster"] = shown.cluster
        sections["server"] = json.dumps(dict(shown.answer)) if shown.answer is not None else shown.server_error
    return "".join(f"\n--- {name}\n{text}\n" for name, text in sections.items())
