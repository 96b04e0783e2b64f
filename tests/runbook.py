"""Runbook pages as values: their parts, the messages they quote, and their steps with what each one prints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pgberth.model.diagnosis import CAUSES, UNKNOWN

REPO = Path(__file__).resolve().parents[1]
RUNBOOKS = REPO / "runbooks"
PARTS = ("Symptom", "Means", "Check", "Act", "Verify", "Undo")
ANY = "…"  # in a page and in a message of the source: whatever stands there

_PART = re.compile(r"^\*\*(\w+)\.\*\*", re.MULTILINE)
_STEP = re.compile(r"^(\d+)\. ")
_COMMAND = re.compile(r"^\s+\$ (.+)$")


@dataclass(frozen=True)
class Step:
    """
    A numbered step.

    + text: all of it, as written
    + commands: at most one, in a good page
    + prints: lines of the command's answer; `…` stands for anything
    """

    part: str
    number: int
    text: str
    commands: tuple[str, ...]
    prints: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    name: str
    text: str

    @property
    def parts(self) -> list[tuple[str, str]]:
        """(name, text) of each part, in the page's order."""
        pieces = _PART.split(self.text)[1:]
        return [(name, text.strip("\n")) for name, text in zip(pieces[::2], pieces[1::2], strict=True)]

    @property
    def messages(self) -> list[str]:
        """What the tool prints: the indented lines under Symptom."""
        lines = dict(self.parts).get("Symptom", "").splitlines()
        return [line.strip() for line in lines if line.startswith("    ")]

    @property
    def steps(self) -> list[Step]:
        return [step for part, text in self.parts for step in _steps(part, text)]


def page(name: str) -> Page:
    """The page of that name, without `.md`."""
    return Page(name, (RUNBOOKS / f"{name}.md").read_text())


def steps(name: str) -> list[Step]:
    """The steps of a page that have a command, in order."""
    return [step for step in page(name).steps if step.commands]


def _steps(part: str, text: str) -> Iterator[Step]:
    numbered: list[list[str]] = []
    for line in text.splitlines():
        if _STEP.match(line):
            numbered.append([line])
        elif numbered and (not line.strip() or line.startswith("   ")):
            numbered[-1].append(line)
        elif numbered:  # a paragraph after the list belongs to nobody's step, but to the last one's page
            numbered[-1].append("")
    for lines in numbered:
        number = _STEP.match(lines[0])
        commands, prints = _block(lines)
        yield Step(part, int(number[1]) if number else 0, "\n".join(lines), commands, prints)


def _block(lines: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    commands: list[str] = []
    prints: list[str] = []
    inside = False
    for line in lines:
        if found := _COMMAND.match(line):
            commands.append(found[1])
            inside = True
        elif inside and line.strip():
            prints.append(line.strip())
        else:
            inside = False
    return tuple(commands), tuple(prints)


def fitted(text: str, *, tenant: str, port: int, account: str, root: bool = True) -> str:
    """
    A page's line with another tenant, port and account than the page's own, and $INVENTORY for the local one.

    + root: whether it is root who runs it; nobody else becomes another account
    """
    if not root:
        text = re.sub(r"runuser -l pgberth -c '([^']*)'", r"(cd && \1)", text)
    text = re.sub(r"(?<=-l )pgberth\b|(?<=/home/)pgberth\b|(?<=passwd )pgberth\b|(?<!\S)pgberth(?=:)", account, text)
    text = text.replace("inventories/local.py", '"$INVENTORY"')
    return re.sub(r"\bacme\b", tenant, re.sub(r"\b5501\b", str(port), text))


def missing(desired: Iterable[str], printed: str) -> list[str]:
    """Lines a page promises that are not in what was printed, in the page's order. Blanks count as one."""
    left = [_squeezed(line) for line in printed.splitlines()]
    absent = []
    for line in desired:
        pattern = re.compile(".*".join(map(re.escape, _squeezed(line).split(ANY))))
        found = next((place for place, said in enumerate(left) if pattern.fullmatch(said)), None)
        if found is None:
            absent.append(line)
        else:
            left = left[found + 1 :]
    return absent


def _squeezed(line: str) -> str:
    return " ".join(line.split())


# What the source can print: every text of its Python, shell and SQL, with ANY for each variable.

_ENOUGH = 8  # letters of its own that a text needs before anything can be recognised by it


def known(message: str) -> bool:
    """Whether a line is one that the source can print, with a tenant, an inventory's line or HINT in front or not."""
    return any(pattern.fullmatch(message) for pattern in _patterns())


@cache
def _patterns() -> list[re.Pattern[str]]:
    texts = {line.strip().removeprefix("HINT: ") for text in _texts() for line in text.splitlines()}
    return [
        re.compile(r"(HINT: |\S+: |\S+: (machine|tenant) '\S+': )?" + ".*".join(map(re.escape, text.split(ANY))))
        for text in texts
        if sum(letter.isalpha() for letter in text.replace(ANY, "")) >= _ENOUGH
    ]


def _texts() -> Iterator[str]:
    yield from (f"{cause.means}: {ANY}" for cause in (*CAUSES, UNKNOWN))
    for path in sorted((REPO / "deploy").rglob("*.py")):
        for text in _python(ast.parse(path.read_text())):
            yield text
            yield from _quoted(text)
    for path in sorted((REPO / "templates").rglob("*")):
        if path.is_file():
            yield from _quoted(path.read_text())


def _python(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else ANY for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _quoted(text: str) -> Iterator[str]:
    """Quoted texts of a shell script or an SQL file; `%` is a variable in SQL's RAISE."""
    plain = _without_substitutions(text)
    for found in re.finditer(r'"([^"\n]{8,})"|\'([^\'\n]{8,})\'', plain):
        said = re.sub(r"\$\w+", ANY, found[1] or found[2])
        yield said
        yield said.replace("%", ANY)


def _without_substitutions(text: str) -> str:
    """`$(…)` and `${…}` replaced by ANY, nested ones with what holds them."""
    out, depth, place = [], 0, 0
    while place < len(text):
        if text.startswith(("$(", "${"), place):
            out.append(ANY if depth == 0 else "")
            depth, place = depth + 1, place + 2
        elif depth and text[place] in ")}":
            depth, place = depth - 1, place + 1
        elif depth and text[place] == "\n":
            depth = 0  # not a substitution of one line: no message is in there
        else:
            out.append(text[place] if depth == 0 else "")
            place += 1
    return "".join(out)
