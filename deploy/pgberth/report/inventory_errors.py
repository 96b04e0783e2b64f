"""Explains errors in the Python files of an inventory; pyinfra alone would show a stack trace."""

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
    The problem with the inventory's files, where an error in one of them ends the run.

    + error: what ends the run; pyinfra's own errors contain the original error, and the file that pyinfra was reading
    + reading: that file, where pyinfra did not read it

    None where the error is not in such a file: an error of the bundle keeps its stack trace.
    """
    fault = getattr(error, "exception", error)
    if isinstance(fault, Refused):
        return fault
    if isinstance(fault, SyntaxError) and fault.filename and _is_operators(fault.filename):
        return Refused.because(f"{_short(fault.filename)}:{fault.lineno}: {fault.msg}", _HINT)
    filename = reading or getattr(error, "filename", None)
    if not isinstance(fault, Exception) or not isinstance(filename, str) or not _is_operators(filename):
        return None
    trace = list(walk_tb(getattr(fault, "_traceback", fault.__traceback__)))
    for frame, line in reversed(trace):  # from the innermost line of that file
        if frame.f_code.co_filename == filename:
            return Refused.because(f"{_short(filename)}:{line}: {_message(fault, frame)}", _HINT)
    return None


def _message(fault: BaseException, frame: FrameType) -> str:
    """Python's message in one line, with the name that was probably meant."""
    words = re.sub(r"\s+", " ", str(fault)).strip()
    if isinstance(fault, NameError):
        return words + did_you_mean(str(fault.name), _public(frame.f_globals))
    if isinstance(fault, (TypeError, ImportError, ValueError, AttributeError)):
        return words
    return f"{type(fault).__name__}: {words}"


def _public(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith("__")]


def _is_operators(filename: str) -> bool:
    """Whether the file is the operator's: not of the bundle, of Python or of a library."""
    path = Path(filename).resolve()
    ours = path.is_relative_to(_PACKAGE) or path.parent == _PACKAGE.parent
    return not ours and not path.is_relative_to(sys.prefix) and not filename.startswith("<")


def _short(filename: str) -> str:
    path = Path(filename)
    return f"{path.parent.name}/{path.name}"
