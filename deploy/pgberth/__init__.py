"""pgberth: a berth of its own for every tenant's agent memory."""
