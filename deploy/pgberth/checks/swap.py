"""What a swap of a tenant's containers, on the same volume, can do to each check: only that may decide about a swap."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Swap(Enum):
    """
    CURES: it can turn the check red, and green again: a tenant that is red in it may be given a new container.
    CAUSES: it can turn the check red. While it is red already, nobody could say whether a swap is to blame.
    NEITHER: roles, rows, tables and files stay as they are, whichever container runs.
    """

    CURES = "can cause and cure it"
    CAUSES = "can cause it"
    NEITHER = "can neither cause nor cure it"


BY_CHECK: Mapping[str, Swap] = {
    # The container itself, and the settings that it was started with.
    "container-spec": Swap.CURES,
    "container-image": Swap.CURES,
    "container-hardened": Swap.CURES,
    "container-supervised": Swap.CURES,
    "container-mounts": Swap.CURES,
    "configuration": Swap.CURES,
    "volume-identity": Swap.CAUSES,
    "durable": Swap.CAUSES,
    # Whether clients get in, and by which pg_hba.conf: its command line names that.
    "ready": Swap.CAUSES,
    "no-password": Swap.CAUSES,
    "wrong-password": Swap.CAUSES,
    "superuser-tcp": Swap.CAUSES,
    "app-confined": Swap.CAUSES,
    "hba": Swap.CAUSES,
    "tls-only": Swap.CAUSES,
    # What the image brings: pgvector, and the dictionaries of text search.
    "extension": Swap.CURES,
    "search-defaults": Swap.CURES,
    "memory-round-trip": Swap.CAUSES,
    "memory-index": Swap.CAUSES,
    "memory-dimension": Swap.CAUSES,
    "knowledge-history": Swap.CAUSES,
    # A certificate is a file that a reload takes up, and is judged before it is written.
    "tls-certificate": Swap.NEITHER,
    "connection-files": Swap.NEITHER,
    # What the volume holds.
    "search-path": Swap.NEITHER,
    "rights": Swap.NEITHER,
    "public-clean": Swap.NEITHER,
    "ledger": Swap.NEITHER,
    "schema": Swap.NEITHER,
    "drift": Swap.NEITHER,
    "memory-metadata": Swap.NEITHER,
    "memory-namespace": Swap.NEITHER,
    "task-history": Swap.NEITHER,
}
