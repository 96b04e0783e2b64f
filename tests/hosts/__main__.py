"""
What throwaway hosts keep on this machine between runs.

    python -m tests.hosts build [trixie|bookworm]   make the image, where it is not there yet
    python -m tests.hosts server                    make the archive of the tenants' server image, the same
    python -m tests.hosts clean                     remove all of these, and what killed runs left behind
"""

from __future__ import annotations

import sys

from tests.hosts import image, needs, registry, server_image
from tests.hosts.commands import Failed
from tests.hosts.locks import held
from tests.hosts.room import sweep

_SUITES = (image.TRIXIE, image.BOOKWORM)


def main(words: list[str]) -> int:
    match words:
        case ["build"] | ["build", "trixie" | "bookworm"]:
            needs.provide()
            print(image.provide(*words[1:]))
        case ["server"]:
            needs.provide()
            print(server_image.provide())
        case ["clean"]:
            needs.provide()
            with held("rooms"):
                for name in sweep():
                    print(f"removed what run {name} left behind")
            for removed in image.remove():
                print(f"removed image {removed}")
            for path in (*server_image.remove(), *registry.remove()):
                print(f"removed {path}")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (needs.Unfit, Failed) as reason:
        sys.exit(str(reason))
