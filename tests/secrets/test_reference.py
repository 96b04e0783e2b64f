"""References to passwords that come from elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgberth.secrets.reference import Source, password_fault, source, sources_fault

GOOD = [
    ("secret://env/ACME_APP", Source("env", ("ACME_APP",))),
    ("secret://env/_x9", Source("env", ("_x9",))),
    ("secret://file/run/secrets/app", Source("file", ("/run/secrets/app",))),
    ("secret://file/srv/with blank/app", Source("file", ("/srv/with blank/app",))),
    ("secret://file/srv/{tenant}/app", Source("file", ("/srv/acme/app",))),
    ("secret://command/pass show pgberth/{tenant}/app", Source("command", ("pass", "show", "pgberth/acme/app"))),
    ("secret://command/sops -d a.yaml", Source("command", ("sops", "-d", "a.yaml"))),
    ("secret://command/sh -c 'a | b'", Source("command", ("sh", "-c", "a | b"))),
]


@pytest.mark.parametrize(("reference", "desired"), GOOD)
def test_a_reference_names_its_source(reference: str, desired: Source) -> None:
    assert source(reference, "acme") == desired


@pytest.mark.parametrize("reference", [reference for reference, _ in GOOD])
def test_what_is_printed_of_a_source_leads_to_the_same(reference: str) -> None:
    found = source(reference, "acme")
    assert source(str(found), "another") == found


BAD = [
    *("", "hunter2", "secret://", "secret://env", "secret://env/", "secret://env/9A", "secret://env/A B"),
    *("secret://env/A-B", "secret://env/A\n", "SECRET://env/A", " secret://env/A", "secret:/env/A", "secret://vault/a"),
    *("secret://file/", "secret://command/", "secret://command/  ", "secret://command/sh 'x", "secret://file/a\nb"),
    *(None, 5, True, b"secret://env/A", ["secret://env/A"]),
]


@pytest.mark.parametrize("reference", BAD)
def test_anything_else_is_no_reference(reference: object) -> None:
    assert source(reference, "acme") is None
    assert sources_fault({"app": reference})


@given(st.text())
def test_no_text_breaks_the_reading_and_what_passes_names_a_source(text: str) -> None:
    found = source(f"secret://command/{text}", "acme")
    assert found is None or (found.words and source(str(found), "acme") == found)


@pytest.mark.parametrize("given_", [{}, {"app": "secret://env/A", "superuser": "secret://file/x"}])
def test_any_of_the_four_passwords_may_come_from_elsewhere(given_: object) -> None:
    assert sources_fault(given_) is None


@pytest.mark.parametrize(
    "given_", [None, "secret://env/A", ["app"], {"owner": "secret://env/A"}, {5: "secret://env/A"}]
)
def test_whatever_is_no_such_table_is_refused(given_: object) -> None:
    assert sources_fault(given_)


@pytest.mark.parametrize("text", ["a" * 16, "a" * 256, "p@ss:w/o?r#d&%20'\"\\", "~!aaaaaaaaaaaaaaaa"])
def test_a_password_is_any_line_that_no_client_reads_another_way(text: str) -> None:
    assert password_fault(text) is None


@pytest.mark.parametrize(
    "text", ["", "a" * 15, "a" * 257, "with blank aaaaaaaaa", "a" * 16 + "\n", "ü" * 16, "a" * 16 + "\0", "\ta" * 9]
)
def test_what_is_short_or_long_or_read_differently_is_no_password(text: str) -> None:
    assert password_fault(text)
