"""Reads a small file that an operator names, and refuses what never ends, such as a pipe or a device."""

from __future__ import annotations

import os
import stat


class UnfitFile(Exception):
    """Why a file is not read, as the end of a sentence that begins with its path."""


def read_plain_file(path: str, limit: int, *, private: bool = False) -> bytes:
    """
    The content of a plain file, also through a link.

    + limit: the most bytes that it may have
    + private: whether others must not be able to read or change it

    Raises UnfitFile, or OSError where it cannot be opened.
    """
    # Without O_NONBLOCK a named pipe would be waited for here.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UnfitFile("is not a plain file")
        mode = stat.S_IMODE(found.st_mode)
        if private and mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
            raise UnfitFile(f"has mode {mode:04o}: others may read or change it, and chmod 0600 ends that")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise UnfitFile(f"has more than {limit} bytes")
    return content
