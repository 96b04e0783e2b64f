"""Settings profiles: how much of a machine one tenant's server uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# The settings of every tenant, whatever its size.
COMMON: Mapping[str, str] = {
    "listen_addresses": "*",  # inside the container's own network; podman publishes it on loopback only
    "unix_socket_directories": "/run/postgresql",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "huge_pages": "off",  # `try` dies with SIGBUS where pages exist but the cgroup allows none
    "jit": "off",  # vector sorts have large cost estimates, which exceed jit_above_cost without need
    "random_page_cost": "1.1",
    "wal_compression": "lz4",
    "checkpoint_timeout": "15min",
    "idle_in_transaction_session_timeout": "60s",
    "client_connection_check_interval": "1s",  # the backend of a killed client notices, and releases its locks
    "dynamic_shared_memory_type": "posix",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_lock_waits": "on",
    "log_statement": "ddl",
    # A CHECK may refuse a statement because of a secret in it, and the statement's text would be logged.
    "log_min_error_statement": "panic",
    "authentication_timeout": "5s",  # connections that never log in count against max_connections
    "log_error_verbosity": "terse",  # DETAIL of a failed CHECK would print the row
    # Not %u or %d: a client without a password chooses both, with line breaks. The server cleans %a.
    "log_line_prefix": "%m [%p] %q%a ",
    "track_io_timing": "on",
    "default_text_search_config": "pg_catalog.english",  # the search columns use it; the default is `simple`
    "max_wal_senders": "3",
    "superuser_reserved_connections": "3",
}


# Setting -> the first major version that has it: an older server does not start with it.
SINCE: Mapping[str, int] = {"autovacuum_worker_slots": 18, "io_method": 18, "io_workers": 18}


@dataclass(frozen=True)
class Profile:
    """
    One size of tenant.

    + rows: about how many embedded rows it is for
    + memory: the container's limit, in podman's notation
    + pids: the largest number of processes in the container
    + settings: lines of postgresql.conf
    """

    name: str
    rows: int
    memory: str
    pids: int
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def shm(self) -> str:
        """
        Size of /dev/shm, in podman's notation.

        A parallel index build takes maintenance_work_mem of it, whatever the table's size. There is room for two.
        """
        return f"{2 * int(self.settings['maintenance_work_mem'].removesuffix('MB')) + 64}m"

    @property
    def clients(self) -> int:
        """Connections that are not reserved for the superuser."""
        lines = self.lines()
        return int(lines["max_connections"]) - int(lines["superuser_reserved_connections"])

    def lines(self) -> dict[str, str]:
        """Every setting of the profile, common ones included, for the newest major version."""
        return {**COMMON, **self.settings}


def for_major(text: str, major: int) -> str:
    """The configuration without the settings that a server of this major version does not have."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if SINCE.get(line.partition(" ")[0], 0) <= major)


PROFILES: Mapping[str, Profile] = {
    "small": Profile(
        name="small",
        rows=50_000,
        memory="256m",
        pids=100,
        settings={
            "shared_buffers": "64MB",
            "effective_cache_size": "160MB",
            "work_mem": "4MB",
            "maintenance_work_mem": "32MB",
            "max_connections": "23",  # twenty clients and the three reserved
            "io_method": "sync",  # the default, worker, is three more processes per tenant
            "max_parallel_workers_per_gather": "0",
            "max_parallel_maintenance_workers": "0",
            "max_wal_size": "256MB",
            "min_wal_size": "64MB",
            "autovacuum_max_workers": "1",
            "autovacuum_worker_slots": "2",
        },
    ),
    "medium": Profile(
        name="medium",
        rows=500_000,
        memory="1g",
        pids=150,
        settings={
            "shared_buffers": "256MB",
            "effective_cache_size": "700MB",
            "work_mem": "8MB",
            "maintenance_work_mem": "64MB",
            "max_connections": "43",
            "io_method": "worker",
            "io_workers": "2",
            "max_parallel_workers_per_gather": "1",
            "max_parallel_maintenance_workers": "1",
            "max_wal_size": "1GB",
            "min_wal_size": "80MB",
            "autovacuum_max_workers": "2",
            "autovacuum_worker_slots": "4",
        },
    ),
    "large": Profile(
        name="large",
        rows=2_000_000,
        memory="4g",
        pids=250,
        settings={
            "shared_buffers": "1GB",
            "effective_cache_size": "3GB",
            "work_mem": "16MB",
            "maintenance_work_mem": "256MB",
            "max_connections": "103",
            "io_method": "worker",
            "io_workers": "3",
            "max_parallel_workers_per_gather": "2",
            "max_parallel_maintenance_workers": "2",
            "max_wal_size": "4GB",
            "min_wal_size": "256MB",
            "autovacuum_max_workers": "3",
            "autovacuum_worker_slots": "16",
        },
    ),
}
