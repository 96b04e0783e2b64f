"""Settings profiles: how much of a machine one tenant's server takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# What every tenant runs with, whatever its size.
COMMON: Mapping[str, str] = {
    "listen_addresses": "*",  # inside the container's own network; podman publishes it on loopback only
    "unix_socket_directories": "/run/postgresql",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "huge_pages": "off",  # `try` dies with SIGBUS where pages exist but the cgroup allows none
    "jit": "off",  # vector sorts have large cost estimates and would cross jit_above_cost by accident
    "random_page_cost": "1.1",
    "wal_compression": "lz4",
    "checkpoint_timeout": "15min",
    "idle_in_transaction_session_timeout": "60s",
    "client_connection_check_interval": "1s",  # a killed client's backend notices, and frees its locks
    "dynamic_shared_memory_type": "posix",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_lock_waits": "on",
    "log_statement": "ddl",
    # The text of a statement that a CHECK refused may be the very secret it refused.
    "log_min_error_statement": "panic",
    "authentication_timeout": "5s",  # connections that never log in count against max_connections
    "log_error_verbosity": "terse",  # DETAIL of a failed CHECK would print the row
    "log_line_prefix": "%m [%p] %q%u@%d %a ",
    "track_io_timing": "on",
    "max_wal_senders": "3",
    "superuser_reserved_connections": "3",
}


@dataclass(frozen=True)
class Profile:
    """
    One size of tenant.

    + settings: lines of postgresql.conf
    + shm, memory: sizes as podman takes them
    + pids: most processes in the container
    """

    name: str
    shm: str
    memory: str
    pids: int
    settings: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> dict[str, str]:
        """Every setting of the profile, common ones included."""
        return {**COMMON, **self.settings}


PROFILES: Mapping[str, Profile] = {
    "small": Profile(
        name="small",
        # Twice maintenance_work_mem for a parallel index build, and as much again to spare.
        shm="128m",
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
}
