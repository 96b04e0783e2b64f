"""What is wrong, in words that nobody can make steer a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgberth.model.problems import Problem, Refused, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("snow\u2603man, caf\u00e9", "snow\u2603man, caf\u00e9"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("over\rwritten", r"over\rwritten"),
        ("back\x08space", r"back\x08space"),
        ("\x9b31m", r"\x9b31m"),
        ("nul\0", r"nul\x00"),
        ("", ""),
    ],
)
def test_what_could_steer_a_terminal_is_made_visible_and_nothing_else(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(text, one_line=True) == shown.replace("\n", r"\n")


@given(st.text())
def test_no_control_character_but_a_tab_is_left_in_one_line(text: str) -> None:
    assert not [c for c in visible(text, one_line=True) if (ord(c) < 32 and c != "\t") or 127 <= ord(c) < 160]


def test_a_fact_shows_it_and_a_refusal_of_several_too() -> None:
    refused = Refused([Problem("acme: \x1b[2J", "look"), Problem("globex: fine")])
    assert str(refused) == "acme: \\x1b[2J\nHINT: look\nglobex: fine"
