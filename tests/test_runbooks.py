"""The runbooks are true: pages exist, have their parts, quote what the tool prints, and name what exists."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator

import pytest

from pgberth.checks.suite import ALL
from tests.runbook import ANY, PARTS, REPO, RUNBOOKS, Page, fitted, known, missing, page, steps

NO_RUNBOOKS = {"README", "decisions"}
NAMES = sorted(path.stem for path in RUNBOOKS.glob("*.md"))
PAGES = [page(name) for name in NAMES if name not in NO_RUNBOOKS]

# Verbs of the plan that an operator could look for in vain; each leaves this list by being made.
_PLANNED = {"recycle", "backup", "restore", "upgrade", "retire", "reembed", "import_vestige", "backfill"}


def verbs() -> set[str]:
    return {path.stem for path in (REPO / "deploy").glob("*.py")}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (REPO / "Makefile").read_text(), re.MULTILINE))


def has_its_parts(it: Page) -> Iterator[str]:
    if not re.match(r"# \S", it.text):
        yield "does not begin with a title"
    found = tuple(name for name, _ in it.parts)
    if found != PARTS:
        yield f"has the parts {', '.join(found)}; wanted {', '.join(PARTS)}"
    yield from (f"{name} is empty" for name, text in it.parts if not text.strip())


def counts_its_steps(it: Page) -> Iterator[str]:
    numbers = [step.number for step in it.steps]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"its steps are numbered {numbers}"
    for step in it.steps:
        if len(step.commands) > 1:
            yield f"step {step.number} has {len(step.commands)} commands"


def tells_what_is_printed(it: Page) -> Iterator[str]:
    for step in it.steps:
        if step.commands and not step.prints and "prints" not in step.text:
            yield f"step {step.number} does not say what its command prints"


def parses(it: Page) -> Iterator[str]:
    for step in it.steps:
        for command in step.commands:
            read = subprocess.run(["sh", "-n"], input=command, capture_output=True, text=True, check=False)
            if read.returncode:
                yield f"step {step.number}: {read.stderr.strip()}"


def quotes_the_source(it: Page) -> Iterator[str]:
    yield from (f"nothing in the source prints {message!r}" for message in it.messages if not known(message))


def names_what_exists(it: Page) -> Iterator[str]:
    said = "\n".join([*re.findall(r"`([^`\n]+)`", it.text), *(line for step in it.steps for line in step.commands)])
    for target in re.findall(r"\bmake (?:-s )?([a-z][a-z-]*)", said):
        if target not in targets():
            yield f"make {target}: no such target"
    for verb in re.findall(r"deploy/(\w+)\.py", it.text) + re.findall(r"\bverbs? `(\w+)`|`(\w+)` verb", it.text):
        name = verb if isinstance(verb, str) else verb[0] or verb[1]
        if name not in verbs():
            yield f"{name}: no such verb"
    for verb in sorted(_PLANNED - verbs()):
        if f"`{verb}`" in it.text:
            yield f"{verb}: no such verb yet"
    for name in re.findall(r"\]\(([\w-]+)\.md\)|runbooks/([\w-]+)\.md", it.text):
        if (name[0] or name[1]) not in NAMES:
            yield f"{name[0] or name[1]}.md: no such page"


Rule = Callable[[Page], Iterator[str]]
RULES: tuple[Rule, ...] = (
    has_its_parts,
    counts_its_steps,
    tells_what_is_printed,
    parses,
    quotes_the_source,
    names_what_exists,
)


def _of(it: Page, rule: Rule) -> object:
    return pytest.param(it, rule, id=f"{it.name}-{rule.__name__}")


@pytest.mark.parametrize(("it", "rule"), [_of(it, rule) for it in PAGES for rule in RULES])
def test_every_page_keeps_every_rule(it: Page, rule: Rule) -> None:
    assert list(rule(it)) == []


_GOOD = """# Something is wrong

**Symptom.** It prints

    acme: its server does not answer: …

**Means.** Nothing is lost.

**Check.**

1. Look.

       $ make status LIMIT=acme
       acme … running g1 …

**Act.**

2. Deploy, with the verb `provision`.

       $ make deploy LIMIT=acme
       acme … passed …

**Verify.**

3. See [README](README.md), and `deploy/verify.py`.

**Undo.** None.
"""

BAD: tuple[tuple[str, str, Rule, str], ...] = (
    ("# Something", "Something", has_its_parts, "does not begin with a title"),
    ("**Undo.** None.", "", has_its_parts, "has the parts Symptom, Means, Check, Act, Verify;"),
    ("**Undo.** None.", "**Undo.**", has_its_parts, "Undo is empty"),
    ("**Means.** Nothing is lost.", "**Means.** Much.\n\n**Means.** More.", has_its_parts, "Means, Means"),
    ("2. Deploy", "3. Deploy", counts_its_steps, "numbered [1, 3, 3]"),
    ("       $ make status LIMIT=acme", "       $ id\n       $ ls", counts_its_steps, "step 1 has 2 commands"),
    ("       acme … passed …\n", "", tells_what_is_printed, "step 2 does not say"),
    ("make deploy LIMIT=acme", "echo 'acme", parses, "step 2: "),
    ("does not answer", "gives no answer", quotes_the_source, "nothing in the source prints 'acme: its server gives"),
    ("    acme: its server does not answer: …", "    …", quotes_the_source, "nothing in the source prints"),
    ("make deploy", "make deplyo", names_what_exists, "make deplyo: no such target"),
    ("verb `provision`", "verb `provide`", names_what_exists, "provide: no such verb"),
    ("deploy/verify.py", "deploy/verfiy.py", names_what_exists, "verfiy: no such verb"),
    ("verb `provision`", "`import_vestiges` verb", names_what_exists, "import_vestiges: no such verb"),
    ("(README.md)", "(READMETOO.md)", names_what_exists, "READMETOO.md: no such page"),
)


@pytest.mark.parametrize("rule", RULES)
def test_a_good_page_keeps_every_rule(rule: Rule) -> None:
    assert list(rule(Page("good", _GOOD))) == []


@pytest.mark.parametrize(("right", "wrong", "rule", "complaint"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_page_is_caught(right: str, wrong: str, rule: Rule, complaint: str) -> None:
    assert right in _GOOD
    problems = list(rule(Page("bad", _GOOD.replace(right, wrong, 1))))
    assert any(complaint in problem for problem in problems), problems


def test_a_planned_verb_is_not_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_runbooks.verbs", lambda: {"provision", "verify"})
    bad = Page("bad", _GOOD.replace("Nothing is lost.", "Use `upgrade`; it says `pending: recycle`."))
    assert list(names_what_exists(bad)) == ["upgrade: no such verb yet"]


def pages_named(text: str) -> set[str]:
    return set(re.findall(r"runbooks/([\w-]+)\.md", text))


def test_every_page_a_hint_names_exists() -> None:
    files = [path for place in ("deploy", "templates") for path in (REPO / place).rglob("*") if path.is_file()]
    texts = [path.read_text() for path in [*files, REPO / "Makefile", REPO / "README.md"] if path.suffix != ".pyc"]
    named = set().union(*map(pages_named, texts))
    assert len(named) >= 7, "the hints' form has changed: nothing is found any more"
    assert named - set(NAMES) == set()
    assert pages_named("HINT: see runbooks/nowhere-at-all.md") - set(NAMES) == {"nowhere-at-all"}


def unlisted(index: str, names: Iterable[str]) -> set[str]:
    return set(names) - {"README"} - set(re.findall(r"\]\(([\w-]+)\.md\)", index))


def test_the_index_lists_every_page() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    assert unlisted(index, NAMES) == set()
    assert list(names_what_exists(Page("README", index))) == []
    assert unlisted(index, [*NAMES, "nowhere-at-all"]) == {"nowhere-at-all"}


def misquoted(index: str) -> list[str]:
    """Words in the index's first column that the page of their row does not have."""
    rows = re.findall(r"^\| ([^|]+) \| .*\]\(([\w-]+)\.md\)", index, re.MULTILINE)
    quotes = [(quote, name) for left, name in rows for quote in re.findall(r"`([^`]+)`", left)]
    return [
        quote for quote, name in quotes if not re.search(".*".join(map(re.escape, quote.split(ANY))), page(name).text)
    ]


def test_the_index_quotes_its_pages() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    assert misquoted(index) == []
    assert misquoted(index.replace("is taken by", "is stolen by")) == ["port … is stolen by …"]


def untold(ids: Iterable[str], text: str) -> set[str]:
    return set(ids) - set(re.findall(r"`([a-z-]+)`", text))


def test_every_check_has_its_line_on_the_page_about_red_ones() -> None:
    told = page("check-is-red").text
    assert untold((check.id for check in ALL), told) == set()
    assert untold(["ready", "seaworthy"], told) == {"seaworthy"}


def test_a_page_gives_its_commands_in_order_with_what_they_print() -> None:
    first = steps("look-at-a-tenant")[0]
    assert first.commands == ("make status",)
    assert first.prints[0].startswith("tenant")


@pytest.mark.parametrize(
    ("desired", "printed", "absent"),
    [
        (["a … c", "d"], "x\na  b   c\ny\nd\n", []),
        (["d", "a"], "a\nd\n", ["a"]),  # the order counts
        (["acme … passed …"], "acme 5501 FAILED before the checks 0.3", ["acme … passed …"]),
        (["…"], "anything\n", []),
        (["…"], "", ["…"]),
    ],
)
def test_what_a_page_promises_is_looked_for_in_what_is_printed(
    desired: list[str], printed: str, absent: list[str]
) -> None:
    assert missing(desired, printed) == absent


def test_a_command_is_fitted_to_another_tenant_and_nothing_else_in_it() -> None:
    command = "runuser -l pgberth -c 'cat .local/share/pgberth/tenants/acme/passfile' # 5501, pgberth.tenant=acme"
    assert fitted(command, tenant="t1", port=7, account="me") == (
        "runuser -l me -c 'cat .local/share/pgberth/tenants/t1/passfile' # 7, pgberth.tenant=t1"
    )
    assert fitted("chown -R pgberth: /home/pgberth/x", tenant="t1", port=7, account="me") == "chown -R me: /home/me/x"
    assert fitted("runuser -l pgberth -c 'ls acme'", tenant="t1", port=7, account="me", root=False) == "(cd && ls t1)"
