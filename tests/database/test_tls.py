"""The certificate of a tenant that listens beyond loopback: what is made, when, and no key in an argv."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pgberth.container.context import TenantContext, TenantObservation
from pgberth.container.state import TenantState
from pgberth.database import certificate, tls
from pgberth.database.operations import digest
from pgberth.model import layout
from pgberth.model.listen import Listen
from pgberth.model.problems import Refused
from tests.fake_host import Answer, FakeHost, Sent, sent
from tests.sample import ABSENT, ACME, spec_file, state

NOW = datetime.now(UTC)
HERE = Listen("10.0.0.5", "db1.example")
OPEN = replace(ACME, listen=HERE)
PLACE = layout.directory("acme")
CA, CRT, SERVER = "tls/ca.pem", "tls/ca.crt", f"etc/{HERE.file}"


@cache
def there(days_ago: int = 0, listen: Listen = HERE) -> Mapping[str, str]:
    """Path -> text, as a deploy left them."""
    made = certificate.authority("acme", NOW)
    issued = certificate.issued(listen, made, NOW - timedelta(days=days_ago))
    return {CA: made, CRT: certificate.first(made), SERVER: issued}


def found(files: Mapping[str, str], **changes: Any) -> TenantState:
    told = {**state().files, **{path: digest(text) for path, text in files.items()}}
    spec = {**spec_file(), "listen": HERE.published}
    return state(**{"files": told, "spec": spec, **changes})


def do(
    files: Mapping[str, str],
    seen: TenantState | None = None,
    given: Mapping[str, str] | None = None,
    listen: Listen = HERE,
) -> tuple[list[Sent], FakeHost]:
    server = files.get(SERVER, "")
    answers = [
        (f"{PLACE}/{CA}", Answer(files.get(CA, ""))),
        ("BEGIN CERT", Answer(server.partition("-----BEGIN PRIVATE")[0])),
    ]
    at = FakeHost(facts={TenantObservation: lambda **_: seen or found(files)}, answers=answers)
    context = TenantContext(replace(ACME, listen=listen), certificate=given)
    return sent(tls.certificate_current, at, context=context), at


def test_a_certificate_that_does_is_left_alone() -> None:
    commands, at = do(there())
    assert commands == []
    assert at.said == []


def test_a_tenant_on_loopback_alone_is_asked_for_none() -> None:
    at = FakeHost(facts={TenantObservation: lambda **_: state()}, answers=[])
    assert sent(tls.certificate_current, at, context=TenantContext(ACME)) == []


def test_a_new_tenant_gets_an_authority_and_a_certificate_of_it_in_that_order() -> None:
    (write,), _ = do({}, seen=state(**{**ABSENT, "files": {}}))
    assert list(write.files) == [f"{PLACE}/{CA}", f"{PLACE}/{CRT}", f"{PLACE}/{SERVER}"]
    texts = {path.removeprefix(f"{PLACE}/"): text for path, (text, mode) in write.files.items() if mode == "0600"}
    assert texts[CRT] == certificate.first(texts[CA])
    assert certificate.fault(texts[SERVER], HERE, NOW, days=390, authority=texts[CRT]) is None
    assert "PRIVATE KEY" not in write.text


OLD = {
    "one that is about to run out": (there(days_ago=380), "its certificate runs out on "),
    "one that ran out": (there(days_ago=500), "its certificate ran out on "),
    "one for another name": (there(listen=Listen("10.0.0.5")), "its certificate is not for db1.example"),
    "one of another authority": (
        {**there(), SERVER: there(days_ago=1)[SERVER]},
        "its certificate is another authority",
    ),
}


@pytest.mark.parametrize("what", OLD)
def test_another_takes_the_place_of(what: str) -> None:
    files, says = OLD[what]
    (write, reload), at = do(files)
    assert list(write.files) == [f"{PLACE}/{SERVER}"]
    text, _ = write.files[f"{PLACE}/{SERVER}"]
    assert certificate.fault(text, HERE, NOW, days=390, authority=files[CRT]) is None
    assert "pg_reload_conf" in reload.stdin
    (line,) = at.said
    assert line.startswith(f"acme: {says}"), line


def test_what_clients_trust_is_put_back_where_it_was_edited() -> None:
    (write, _), _ = do({**there(), CRT: "edited"})
    assert write.files == {f"{PLACE}/{CRT}": (there()[CRT], "0600")}


def test_a_server_that_does_not_listen_yet_is_not_told_to_reload() -> None:
    commands, _ = do({}, seen=found({}, spec=spec_file()))
    assert [bool(one.files) for one in commands] == [True]


@pytest.mark.parametrize("text", ["", "garbled", there()[CRT]])
def test_an_authority_that_is_not_understood_is_never_replaced(text: str) -> None:
    (refused,), _ = do({**there(days_ago=380), CA: text})
    assert "tls/ca.pem is not understood" in refused.refusal
    assert "runbooks/certificate-is-refused.md" in refused.refusal


def given_in(place: Path, **texts: str) -> Listen:
    for kind, text in texts.items():
        (place / kind).write_text(text)
    told = {kind: str(place / kind) for kind in ("certificate", "key")}
    return replace(HERE, **told, ca=str(place / "ca") if "ca" in texts else "")


def parted(text: str) -> dict[str, str]:
    certificates, sign, key = text.partition("-----BEGIN PRIVATE")
    return {"certificate": certificates, "key": sign + key}


def test_one_from_elsewhere_is_taken_with_what_clients_trust_and_without_anything_else(tmp_path: Path) -> None:
    listen = given_in(tmp_path, **parted(there()[SERVER]), ca=f"our own\n{there()[CA]}")
    texts = tls.read_external([replace(OPEN, listen=listen)])["acme"]
    assert texts["ca"] == there()[CRT]  # and not the key that stood beside it
    commands, _ = do({}, given=texts, listen=listen)
    assert commands[0].files[f"{PLACE}/etc/{listen.file}"][0] == there()[SERVER]
    assert commands[0].files[f"{PLACE}/tls/given.crt"][0] == there()[CRT]
    kept = {f"etc/{listen.file}": there()[SERVER], "tls/given.crt": texts["ca"]}
    assert do({**there(), **kept}, given=texts, listen=listen)[0] == []


def test_a_server_that_is_to_listen_elsewhere_goes_on_with_its_own_certificate_until_it_is_recycled() -> None:
    moved = Listen("10.0.0.6", "db2.example")
    commands, _ = do(there(), listen=moved)
    assert list(commands[0].files) == [f"{PLACE}/etc/{moved.file}"]
    commands, _ = do(there(days_ago=380), listen=moved)
    assert list(commands[0].files) == [f"{PLACE}/etc/{moved.file}", f"{PLACE}/{SERVER}"]


def test_all_that_clients_are_told_has_a_file_of_its_own() -> None:
    given = replace(HERE, certificate="/c", key="/k")
    told = [HERE, replace(HERE, name=""), replace(HERE, address="10.0.0.6"), given, replace(given, ca="/a")]
    assert len({one.file for one in told}) == len(told)
    assert given.file == replace(given, certificate="/other", key="/other").file


def test_a_key_that_others_may_read_is_closed() -> None:
    modes = {**state().modes, SERVER: "644", CA: "640", CRT: "600"}
    (close,), at = do(there(), seen=found(there(), modes=modes))
    assert close.arguments == [PLACE, SERVER, CA]
    assert at.said == [f"acme: repairing: {SERVER}, {CA} could be read by others"]


WRONG = {
    "no certificate": ({"certificate": "x"}, "certificate", "is not a certificate in PEM"),
    "a certificate for another": (parted(there(listen=Listen("10.0.0.6"))[SERVER]), "certificate", "is not for db1."),
    "a certificate that ran out": (parted(there(days_ago=500)[SERVER]), "certificate", "ran out on "),
    "another certificate's key": ({"key": parted(there(days_ago=1)[SERVER])["key"]}, "key", "is another certificate's"),
    "no key": ({"key": "x"}, "key", "is not a private key in PEM"),
    "an authority that is none": ({"ca": "x"}, "ca", "is not a certificate in PEM"),
    "another's authority": (
        {"ca": certificate.first(certificate.authority("x", NOW))},
        "certificate",
        "would not be taken by a client: ",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_one_from_elsewhere_that_does_not_do_is_refused_before_anything_is_touched(what: str, tmp_path: Path) -> None:
    texts, kind, says = WRONG[what]
    listen = given_in(tmp_path, **{**parted(there()[SERVER]), **texts})
    with pytest.raises(Refused) as refused:
        tls.read_external([replace(OPEN, listen=listen)])
    assert str(refused.value).startswith(f"acme: {kind} {getattr(listen, kind)} {says}")
    assert "PRIVATE" not in str(refused.value)


def test_all_files_that_are_not_there_are_told_together(tmp_path: Path) -> None:
    listen = replace(HERE, certificate=str(tmp_path / "c"), key=str(tmp_path / "k"), ca=str(tmp_path / "a"))
    with pytest.raises(Refused) as refused:
        tls.read_external([replace(OPEN, listen=listen)])
    assert str(refused.value).count("cannot be read: No such file or directory") == 3
