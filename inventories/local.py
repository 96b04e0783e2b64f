"""This machine, two tenants in two rings."""

from pgberth.inventory import ALL, machine, tenant

_here = machine("@local")

machines = [_here.host]
canary = [tenant("demo", on=_here, port=5501, components=ALL)]
production = [tenant("demo-two", on=_here, port=5502, components={"memory_plugin"})]
