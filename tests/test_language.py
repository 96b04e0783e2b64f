"""Code, templates and pages use plain words: phrases that readers stumble over, and private names, stay out."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_house import FLOORS

REPO = Path(__file__).resolve().parents[1]

# Globs below the repository: every file that they match must be free of every phrase.
PLACES: tuple[str, ...] = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
    "config.py",
    "runbooks/*.md",
    "inventories/**/*.py",
    "inventories/**/*.yaml",
    "deploy/**/*.py",
    "templates/**/*",
    *(
        f"tests/{room}/*.py"
        for room in ("connectors", "inventory", "knowledge", "machine", "migrations", "model", "rendering", "report")
    ),
    *("tests/contract/**/*", "tests/secrets/*.py", "tests/sql_lint.py", "tests/test_cli.py", "tests/test_commands.py"),
)

# The runner compares the hash of an applied up file, comments included: an edit of a version would stop every tenant
# that has it, and an edit of a repeatable would make every tenant run it again.
# guard.sh is part of every container's fingerprint: an edit would make a recycle of every tenant pending.
_APPLIED = re.compile(r"templates/(sql/\w+/(\d{4}|R\d)_\w+\.up\.sql\.j2|entrypoint/guard\.sh)")


@dataclass(frozen=True)
class Phrase:
    """
    + pattern: a regular expression; a blank in it also matches a line break, also one inside a comment or a string
    + better: what to write instead
    + bad: a text that contains the phrase
    """

    pattern: str
    better: str
    bad: str

    def __str__(self) -> str:
        return self.pattern

    @property
    def compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern.replace(" ", r"\s"))


PHRASES: tuple[Phrase, ...] = (
    Phrase(r"\bto be had\b", "available; could not be read", "passwords that are not\nto be had"),
    Phrase(r"\banew\b", "again; a new …", "its container is made anew"),
    Phrase(r"(?<![Tt]here )\b(is|are|was|were) no (?!longer\b|more than\b)\w+", "is not a …", "a word that is no verb"),
    Phrase(r"\b(runs?|running) for nobody\b", "is unreachable", "its container runs for nobody"),
    Phrase(r"\b(is|are|was|were|be|been) told\b", "gets; is printed; is recorded", "the caller is told why"),
    Phrase(r"\bas said\b", "see the error above", "was not reached, as said"),
    Phrase(r"\blets? no (more|other|one|body)\b", "refuses further …", "the server lets no more in"),
    Phrase(r"\b[Hh]e\b|\b[Hh]is\b|\b[Hh]im\b|\b[Hh]imself\b", "it; they; the operator", "what he would see"),
    Phrase(r"\b[Ww]hoever\b", "anyone who …; the person who …", "whoever runs the machine"),
    Phrase(r"\b(go|goes|going|went) on with\b", "continue with", "the deploy goes on with the others"),
    Phrase(r"\b(is|are|was|were) nobody's\b", "nobody owns …", "a directory that is nobody's"),
    Phrase(r"\bleave it away\b", "leave it out", "if it is unset, leave it away"),
    Phrase(r"\b[Ss]lips?\b", "mistake; inventory error", "a slip in the inventory"),
    Phrase(r"\bfelt\b", "observed; wait_for_write", "what the client felt"),
    # Names that only this project understood; those that are words of the field too count where they are defined.
    Phrase(r"\bBerth\b", "TenantContext", "def start(berth: Berth)"),
    Phrase(r"\bWish\b", "RecycleOptions", "Wish(pending=True)"),
    Phrase(r"\b(Pulse|Beat)\b", "WriteProbe, WriteReport", "with Pulse(url) as pulse:"),
    Phrase(r"\b(Trunk|Survey|Stock|Parcel)\b", "SshPool, MachineContext, ImageInventory", "class Stock:"),
    Phrase(r"\bPatience\b", "RetryPolicy", "Patience(30)"),
    Phrase(
        r"\bclass (Held|Given|Subject|Line|Ready|Launch|Definition|Unlike)\b",
        "LockLease, ExternalPasswords, CheckContext, SshConnection, MachineProfile, ContainerLaunch, SystemdUnit, …",
        "class Unlike(NamedTuple):",
    ),
    Phrase(
        r"\bdef (look|told|said|felt|settled|noted|attended|ours|forget\w*)\b",
        "observe, prints, finish_…, record_…, reachable, acquire_run_lock, invalidate",
        "def told(self) -> str:",
    ),
)

GOOD = (
    "There is no lock to remove, and it is no longer needed; there was no answer.",
    "The server refuses further connections. This is not a backup. Its pulse is no\n\nNew paragraph",
    "It is a canary: a tenant that changes first. Unlike a container, a volume stays.",
)

_BREAK = re.compile(r"""(?<=\S)[ \t]*["']?[ \t]*(?P<breaks>\n\s*)(?:(?:#:?|--|\*)[ \t]+|[rf]{0,2}["'])?(?=\S)""")


def flat(text: str) -> str:
    """The text with one blank between words, and nothing but `\\n` where a sentence goes over to the next line."""
    joined = _BREAK.sub(lambda found: "\n" * found["breaks"].count("\n"), text)
    return re.sub(r"[ \t]+", " ", joined)


def offences(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, what is written there, what is better) of each phrase in a text."""
    plain = flat(text)
    for phrase in PHRASES:
        for found in phrase.compiled.finditer(plain):
            yield plain.count("\n", 0, found.start()) + 1, found[0].replace("\n", " "), phrase.better


def files(places: Iterable[str] = PLACES) -> list[Path]:
    """The files of these globs, in order, without bytecode and applied migrations."""
    matched = {path for place in places for path in REPO.glob(place) if path.is_file()}
    return sorted(path for path in matched if "__pycache__" not in path.parts and not _APPLIED.fullmatch(_name(path)))


def _name(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


@pytest.mark.parametrize("path", files(), ids=_name)
def test_a_file_uses_plain_words(path: Path) -> None:
    found = offences(path.read_text())
    assert [f"{_name(path)}:{line}: {words!r}; better: {better}" for line, words, better in found] == []


@pytest.mark.parametrize("place", PLACES)
def test_every_place_has_files(place: str) -> None:
    assert any(path.is_file() for path in REPO.glob(place))


@pytest.mark.parametrize("phrase", PHRASES, ids=str)
def test_a_planted_phrase_is_found(phrase: Phrase) -> None:
    found = [(line, better) for line, _, better in offences(f"A sentence before it.\n\n{phrase.bad}, and more.\n")]
    assert (3, phrase.better) in found or (4, phrase.better) in found


@pytest.mark.parametrize(
    "wrapped", ["to\n    # be had", 'it is "\n    f"no verb', "-- it is\n-- told so", "is\n  told"]
)
def test_a_phrase_that_goes_over_the_line_is_found(wrapped: str) -> None:
    assert [line for line, *_ in offences(f"\n{wrapped}")] == [2]


def test_an_applied_migration_keeps_its_words() -> None:
    every = {_name(path) for path in files(["templates/sql/**/*"])}
    assert "templates/sql/knowledge/0001_init.up.sql.j2" not in every
    assert "templates/sql/knowledge/R2_grants.up.sql.j2" not in every
    assert {"templates/sql/knowledge/0001_init.down.sql.j2", "templates/sql/knowledge/R2_grants.verify.sql.j2"} <= every


@pytest.mark.parametrize("text", GOOD)
def test_plain_words_are_left_alone(text: str) -> None:
    assert list(offences(text)) == []


def test_contributing_lists_the_floors_of_the_house() -> None:
    listed = re.findall(r"^\d+\. (`.+)$", (REPO / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", line.partition(":")[0])) for line in listed] == [set(rooms) for rooms in FLOORS]


def main(places: Iterable[str]) -> None:
    """Print how many phrases each file of these globs has: `python -m tests.test_language 'deploy/**/*.py'`."""
    for path in files(places):
        if words := [words for _, words, _ in offences(path.read_text())]:
            print(f"{len(words):4} {_name(path)}: {', '.join(sorted(set(words)))}")


if __name__ == "__main__":
    main(sys.argv[1:] or PLACES)
