"""Inventories, machines and tenants to run the verbs on."""

from __future__ import annotations

import json

from pgberth.migrations import baseline
from tests.machine.states import USER_WITHOUT_PODMAN
from tests.sample import ABSENT, container, server, state
from tests.verbs.runs import ACME, GLOBEX, INVENTORY, Answers, Run, a_machine, a_tenant

IN_ORDER: Answers = [*a_machine(), *a_tenant(), *a_tenant(GLOBEX)]
NEW: Answers = [*a_machine(), *a_tenant(found=state(ACME, **ABSENT)), *a_tenant(GLOBEX, state(GLOBEX, **ABSENT))]

BAD = """\
import tests.verbs.fakes
from pgberth.inventory import Image, machine, tenant

_here = machine("@local", acount="svc")

machines = [_here.host]
canary = [
    tenant("Acme", on=_here, port=5501, components={"memory_plugin"}),
    tenant("globex", on=_here, port="5502", components={"memory_plugn"}),
    tenant("initech\\n", on=_here, port=80, components={"knowledge"}, colour="red"),
]
production = [
    tenant("hooli", on=_here, port=5505, components={"knowledge"}, profile="huge", image=Image("$(id)")),
    tenant("hooli", on=_here, port=5506, components={"knowledge"}),
    tenant("umbrella", on=_here, port=5505, components={"knowledge"}, parameters={"knowledge": 5}),
]
"""
_SLOW = """\
import json, os, time
with open(os.environ["PGBERTH_FAKE_LOG"], "a") as log:
    log.write(json.dumps(["nobody", "the inventory is being read", ""]) + "\\n")
time.sleep(20)
"""
_DRIFT = {"kind": "grant", "object": "schema public", "problem": "has CREATE for PUBLIC, not wanted"}
_half = state(ACME, files={}, answer=server(ACME, verifiers={}))
_stranger = state(ACME, container=None, unknown="Error: database is locked", answer=None, marker={})
_stale = container(ACME, labels={**container(ACME).labels, "pgberth.spec": "0123456789abcdef"})
_adrift = state(ACME, container=_stale, answer=server(ACME, access=[_DRIFT]))
_seen = _adrift.server
assert _seen is not None
_CATALOGUE = json.dumps({"key": baseline.key(_seen), "traits": []})

_globex_stale = container(GLOBEX, labels={**container(GLOBEX).labels, "pgberth.spec": "0123456789abcdef"})

SCENARIOS: dict[str, Run] = {
    "in order": Run(arguments=("-y", "--json", "--data", "smoke=false"), answers=IN_ORDER),
    "new": Run(answers=NEW),
    "machine not ready": Run(answers=[*a_machine(USER_WITHOUT_PODMAN), *NEW[2:]]),
    "one fails, one is pending": Run(
        answers=[*a_machine(), *a_tenant(found=_stranger), *a_tenant(GLOBEX, state(GLOBEX, container=_globex_stale))]
    ),
    "a command fails": Run(
        arguments=("-y", "--no-wait", "--data", "smoke=false"),
        answers=[("acme", "app-v1", {"stderr": "disk full", "done": False}), *NEW],
    ),
    "limited to a ring": Run(arguments=("-y", "--limit", "canary", "--data", "smoke=false"), answers=NEW),
    "limited to nothing": Run(arguments=("-y", "--limit", "acmee"), answers=NEW),
    "bad inventory": Run(inventory=BAD, arguments=("-y", "--data", "smok=false"), answers=NEW),
    "a slip": Run(inventory=INVENTORY.replace('tenant("globex"', 'tennant("globex"')),
    "a slip of grammar": Run(inventory=INVENTORY.replace('machine("@local")', 'machine("@local"')),
    "interrupted at the start": Run(inventory=_SLOW + INVENTORY, interrupt="is being read"),
    "another operator": Run(
        answers=[("acme", "Hold a tenant", {"stdout": "busy ada@db1 since noon (recycle)"}), *NEW],
    ),
    "interrupted": Run(
        answers=[*a_machine(), *a_tenant(found=state(ACME, **ABSENT), seconds=20), *NEW], interrupt="section machine"
    ),
    "everything printed": Run(
        arguments=("-y", "-vvv", "--debug", "--diff", "--data", "smoke=false"),
        answers=[*a_machine(), *a_tenant(found=_half), *a_tenant(GLOBEX)],
    ),
    # Nobody listens at the tenants' ports, so that what goes over TCP is red.
    "checks are red": Run(
        verb="verify",
        arguments=("-y", "--limit", "acme"),
        answers=[("acme", "catalogue.json", {"stdout": _CATALOGUE}), *IN_ORDER],
    ),
    "status": Run(
        verb="status",
        arguments=("-y",),
        answers=[
            ("@local", "podman ps --all", {"stdout": "acme container\ngone volume:gone-data-g2\ngone directory"}),
            ("acme", "catalogue.json", {"stdout": _CATALOGUE}),
            *a_machine(),
            *a_tenant(found=_adrift),
            *a_tenant(GLOBEX, state(GLOBEX, **ABSENT)),
        ],
    ),
}
