"""Settings profiles: how much of a machine one tenant's server uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgberth.model import connections
from pgberth.model.connections import PLUGIN_POOL, Connections

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
    # Every session of the app may hold a lock on every relation that it may read, the catalogue's included (about 330).
    "max_locks_per_transaction": "128",
    "superuser_reserved_connections": str(connections.SUPERUSER),
    # The roles of pgberth's own get in while the app, and connections that never log in, hold all the others.
    "reserved_connections": str(sum(connections.OWN.values())),
    # An application could fill the disk that all tenants share with these; temp_file_limit is a setting of its roles.
    "max_notify_queue_pages": "2048",  # of 8 kB
    "max_slot_wal_keep_size": "1GB",
}


# Setting -> the first major version that has it: an older server does not start with it.
SINCE: Mapping[str, int] = {
    "max_notify_queue_pages": 17,
    "autovacuum_worker_slots": 18,
    "io_method": 18,
    "io_workers": 18,
}


# pgvector's defaults let a search through an HNSW index return too few rows: it looks at the 40 nearest of the whole
# table, and a filter takes its rows away from these. An iterative scan goes on until LIMIT rows have passed the filter.
_SEARCH: Mapping[str, str] = {
    "hnsw.iterative_scan": "strict_order",  # relaxed_order would return rows that are not in order of distance
    "hnsw.ef_search": "400",  # the planner sees its cost: of a small table, or of few rows, it then searches exactly
    "hnsw.max_scan_tuples": "2147483647",  # no bound but that of memory: a scan that meets it ends early, in silence
}
# What a scan has seen, it keeps, without the vector: 12 MB hold about 62 000 rows, measured with pgvector 0.8.5.
SCAN_ROW = 200  # bytes
# Only a scan whose filter passes few of the rows near what is asked keeps much. So many of a tenant's connections may
# do that at once, in half of what shared_buffers leave; the other half is for sorts and for the processes themselves.
SCANS_AT_ONCE = 8  # one in so many
_MEBIBYTES = {"m": 1, "g": 1024}


@dataclass(frozen=True)
class Profile:
    """
    One size of tenant.

    + rows: about how many embedded rows it is for
    + clients: connections of the tenant's applications, unless its inventory line has another number
    + memory: the container's limit, in podman's notation
    + temp_files: what one session of the app may write to temporary files, as PostgreSQL writes sizes
    + settings: lines of postgresql.conf
    """

    name: str
    rows: int
    clients: int
    memory: str
    temp_files: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def shm(self) -> str:
        """
        Size of /dev/shm, in podman's notation.

        A parallel index build takes maintenance_work_mem of it, whatever the table's size. There is room for two.
        """
        return f"{2 * _megabytes(self.settings['maintenance_work_mem']) + 64}m"

    @property
    def max_connections(self) -> int:
        return int(self.settings["max_connections"])

    @property
    def pids(self) -> int:
        """
        The largest number of processes in the container.

        PostgreSQL accepts twice as many connections as it has slots, until it knows what each of them is; a fork that
        fails would shut out the superuser as well. Beside them are about forty of the server and of what runs there.
        """
        return 2 * (self.max_connections + int(COMMON["max_wal_senders"])) + 40

    def connections_fault(self, wanted: Connections) -> str | None:
        """What this budget is too much for, with all its terms; None where it adds up."""
        if wanted.total <= self.max_connections:
            return None
        return f"profile {self.name} has {self.max_connections} connections, and these need more: {wanted}"

    @property
    def search(self) -> dict[str, str]:
        """
        The settings of pgvector that every login starts with: setting -> value.

        They belong to roles and not to postgresql.conf, so that a running server gets them without a restart.
        """
        return {**_SEARCH, "hnsw.scan_mem_multiplier": str(self.scan_memory // _megabytes(self.settings["work_mem"]))}

    @property
    def scan_memory(self) -> int:
        """What one scan of a vector index may keep, in MB: every row of the profile, or its share of memory."""
        step = _megabytes(self.settings["work_mem"])
        rows = -(-self.rows * SCAN_ROW // 2**20)
        free = (_megabytes(self.memory) - _megabytes(self.settings["shared_buffers"])) // 2
        share = free * SCANS_AT_ONCE // (self.clients + PLUGIN_POOL)
        return min(-(-rows // step), share // step) * step

    def lines(self) -> dict[str, str]:
        """Every setting of the profile, common ones included, for the newest major version."""
        return {**COMMON, **self.settings}


def _megabytes(size: str) -> int:
    """Of a size as podman (`384m`) or as PostgreSQL (`64MB`) writes it."""
    text = size.lower().removesuffix("b")
    return int(text[:-1]) * _MEBIBYTES[text[-1]]


def for_major(text: str, major: int) -> str:
    """The configuration without the settings that a server of this major version does not have."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if SINCE.get(line.partition(" ")[0], 0) <= major)


PROFILES: Mapping[str, Profile] = {
    "small": Profile(
        name="small",
        rows=50_000,
        clients=20,
        memory="384m",
        temp_files="128MB",
        settings={
            "shared_buffers": "64MB",
            "effective_cache_size": "160MB",
            "work_mem": "4MB",
            "maintenance_work_mem": "32MB",
            "max_connections": "142",
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
        clients=40,
        memory="1g",
        temp_files="512MB",
        settings={
            "shared_buffers": "256MB",
            "effective_cache_size": "700MB",
            "work_mem": "8MB",
            "maintenance_work_mem": "64MB",
            "max_connections": "182",
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
        clients=100,
        memory="4g",
        temp_files="2GB",
        settings={
            "shared_buffers": "1GB",
            "effective_cache_size": "3GB",
            "work_mem": "16MB",
            "maintenance_work_mem": "256MB",
            "max_connections": "302",
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
