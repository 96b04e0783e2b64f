"""A secret comes out of reveal() and nowhere else."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pgberth.model.secret import Secret

TEXT = "hunter2-hunter2-hunter2"


@dataclass(frozen=True)
class Holder:
    password: Secret


SHOWN: dict[str, Callable[[Secret], str]] = {
    "repr": repr,
    "str": str,
    "f-string": lambda secret: f"{secret}",
    "f-string with repr": lambda secret: f"{secret!r}",
    "f-string with a width": lambda secret: f"{secret:>40}",
    "format": lambda secret: "{0} {0!s} {0!r}".format(secret),  # noqa: UP032
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
    "in a list": lambda secret: str([secret]),
    "in a dict": lambda secret: str({"password": secret}),
    "in a dataclass": lambda secret: repr(Holder(secret)),
    "in an exception": lambda secret: str(ValueError("refused", secret)),
    "pretty printed": lambda secret: pprint.pformat({"password": secret}),
    "json by str": lambda secret: json.dumps({"password": secret}, default=str),
    "as attributes": lambda secret: str(getattr(secret, "__dict__", {})),
}


@pytest.mark.parametrize("way", SHOWN)
def test_a_secret_is_not_shown(way: str) -> None:
    shown = SHOWN[way](Secret(TEXT))
    assert TEXT not in shown
    assert "***" in shown or way == "as attributes"


def test_a_secret_is_not_shown_by_a_log_record(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("anything").warning("password %s", Secret(TEXT))
    assert caplog.messages == ["password ***"]


def test_a_secret_is_not_shown_by_a_traceback_with_locals() -> None:
    def fails(password: Secret) -> None:
        raise RuntimeError("no")

    try:
        fails(Secret(TEXT))
    except RuntimeError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "password = ***" in shown
    assert TEXT not in shown


@pytest.mark.parametrize(
    "stored",
    [pickle.dumps, copy.copy, copy.deepcopy, json.dumps],
    ids=["pickle", "copy", "deepcopy", "json"],
)
def test_a_secret_is_neither_stored_nor_copied(stored: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError) as refused:
        stored(Secret(TEXT))
    assert TEXT not in str(refused.value)


def test_a_secret_takes_no_attribute_through_which_it_could_be_shown() -> None:
    with pytest.raises(AttributeError):
        Secret(TEXT).text = TEXT  # type: ignore[attr-defined]


def test_a_secret_is_revealed_to_whoever_asks_by_name() -> None:
    assert Secret(TEXT).reveal() == TEXT


def test_secrets_are_equal_when_their_texts_are() -> None:
    assert Secret(TEXT) == Secret(TEXT)
    assert Secret(TEXT) != Secret("another")
    assert Secret(TEXT) != TEXT
    assert len({Secret(TEXT), Secret(TEXT), Secret("another")}) == 2
