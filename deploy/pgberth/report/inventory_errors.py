"""An operator's slip in a Python file of the inventory, in our words; pyinfra alone would show a stack trace."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from traceback import walk_tb
from types import FrameType

from pgberth.inventory.rules import did_you_mean
from pgberth.model.problems import Refused

_PACKAGE = Path(__file__).resolve().parent.parent
_HINT = "correct it; nothing was touched: runbooks/inventory-is-refused.md"


def explain(error: BaseException | None, reading: str = "") -> Refused | None:
    """
    What is wrong with the inventory's files, where that is why the run ends.

    + error: what ends the run; pyinfra's own errors hold the one that they are about, and the file that it was reading
    + reading: that file, where it was not pyinfra that read it

    None where the fault is not in such a file: a fault of ours keeps its stack trace.
    """
    fault = getattr(error, "exception", error)
    if isinstance(fault, Refused):
        return fault
    if isinstance(fault, SyntaxError) and fault.filename and _is_theirs(fault.filename):
        return Refused.because(f"{_named(fault.filename)}:{fault.lineno}: {fault.msg}", _HINT)
    filename = reading or getattr(error, "filename", None)
    if not isinstance(fault, Exception) or not isinstance(filename, str) or not _is_theirs(filename):
        return None
    trace = list(walk_tb(getattr(fault, "_traceback", fault.__traceback__)))
    for frame, line in reversed(trace):  # the innermost line of that file
        if frame.f_code.co_filename == filename:
            return Refused.because(f"{_named(filename)}:{line}: {_said(fault, frame)}", _HINT)
    return None


def _said(fault: BaseException, frame: FrameType) -> str:
    """The fault in Python's words, without the noise, and what may have been meant."""
    words = re.sub(r"\s+", " ", str(fault)).strip()
    if isinstance(fault, NameError):
        return words + did_you_mean(str(fault.name), _public(frame.f_globals))
    if isinstance(fault, (TypeError, ImportError, ValueError, AttributeError)):
        return words
    return f"{type(fault).__name__}: {words}"


def _public(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith("__")]


def _is_theirs(filename: str) -> bool:
    """Not the bundle's own, nor Python's nor a library's."""
    path = Path(filename).resolve()
    ours = path.is_relative_to(_PACKAGE) or path.parent == _PACKAGE.parent
    return not ours and not path.is_relative_to(sys.prefix) and not filename.startswith("<")


def _named(filename: str) -> str:
    path = Path(filename)
    return f"{path.parent.name}/{path.name}"
