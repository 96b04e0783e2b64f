"""What starts a running tenant at boot, and anew after a crash, kept as wanted."""

from __future__ import annotations

from pgberth.commands import Commands
from pgberth.container.context import TenantContext
from pgberth.container.spec import ContainerSpec
from pgberth.container.state import TenantState
from pgberth.container.units import systemd_unit

# Arguments: the unit's file, its link or "", files that are not wanted. Nothing is started or stopped.
_WRITE_UNIT = """set -eu
mkdir -p "${1%/*}"; cat > "$1.new"; sync "$1.new"; mv -f "$1.new" "$1"
[ -z "$2" ] || { mkdir -p "${2%/*}"; ln -sf "../${1##*/}" "$2"; }
shift 2; rm -f "$@"
systemctl --user daemon-reload
"""


def unit_written(context: TenantContext, state: TenantState, desired: ContainerSpec) -> Commands:
    """A running tenant's unit is there as wanted; the tenant runs on meanwhile."""
    unit = systemd_unit(desired)
    if unit.file and dict(state.units) != unit.digests:
        others = sorted(set(state.units) - set(unit.digests))
        yield context.change(_WRITE_UNIT, unit.file, unit.link, *others, timeout=60, stdin=unit.text)
