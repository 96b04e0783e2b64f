"""The certificate of a server that listens beyond loopback: there, for its address, and renewed in time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pyinfra import host
from pyinfra.api import operation

from pgberth import commands
from pgberth.commands import Commands, File
from pgberth.container.facts import Berth
from pgberth.database.operations import RELOAD, digest
from pgberth.model import layout
from pgberth.model.listen import Listen
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import Tenant

_PAGE = "runbooks/certificate-is-refused.md"
_CERTIFICATES = 'sed -n "/^-----BEGIN CERT/,/^-----END CERT/p" "$1"'
_WHOLE = 'cat "$1"'
_AUTHORITY = "ca.pem"  # with its key: it signs the next certificate


def given(tenants: list[Tenant]) -> Mapping[str, Mapping[str, str]]:
    """
    Tenant -> kind of file ("certificate", "key", "ca") -> its text, for certificates that come from elsewhere.

    Raises Refused with everything that cannot be used.
    """
    problems: list[Problem] = []
    found: dict[str, dict[str, str]] = {}
    for tenant in tenants:
        if tenant.listen is not None and tenant.listen.given:
            found[tenant.name], wrong = _read(tenant, tenant.listen)
            problems += wrong
    if problems:
        raise Refused(problems)
    return found


def _read(tenant: Tenant, listen: Listen) -> tuple[dict[str, str], list[Problem]]:
    # Only where it is asked for: cryptography is a good part of a second run's time.
    from pgberth.database import certificate

    texts, faults = {}, {}
    for kind in ("certificate", "key", "ca"):
        if path := getattr(listen, kind):
            try:
                texts[kind] = Path(path).read_text()
            except (OSError, UnicodeDecodeError) as error:
                faults[kind] = f"cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}"
    if "certificate" in texts:
        told = certificate.fault(texts["certificate"], listen, certificate.utc(), days=0)
        if told is not None:
            faults["certificate"] = told
        elif "key" in texts and (wrong := certificate.key_fault(texts["key"], texts["certificate"])):
            faults["key"] = wrong
    if "ca" in texts and "BEGIN CERTIFICATE" not in texts["ca"]:
        faults["ca"] = "is no certificate in PEM"
    return texts, [
        Problem(f"{tenant.name}: {kind} {getattr(listen, kind)} {why}", f"nothing was touched; {_PAGE}")
        for kind, why in faults.items()
    ]


@operation()
def certificate_current(berth: Berth, given: Mapping[str, str] | None) -> Commands:
    """
    The tenant's server has a certificate for where it listens; one of our own authority's is renewed in time.

    + given: the files of one that comes from elsewhere, as `given` reads them

    A running server takes it up for its next session, and no session ends for it.
    """
    state, listen = berth.look(), berth.tenant.listen
    if state is None or state.ready is None or listen is None:
        return
    wanted = _given(berth, given) if given else _own(berth, listen)
    if isinstance(wanted, Problem):
        yield commands.refuse(wanted)
    elif wanted:
        yield berth.write_files(*wanted)
        if state.container is not None and state.container.running and state.spec.get("listen"):
            yield berth.superuser(RELOAD)


def _given(berth: Berth, texts: Mapping[str, str]) -> list[File]:
    """What is not there yet."""
    name, seen = berth.tenant.name, berth.look()
    chain = "".join(f"{texts[kind].strip()}\n" for kind in ("certificate", "key"))
    wanted = {f"etc/{layout.CERTIFICATE}": chain, **({"tls/ca.crt": texts["ca"]} if "ca" in texts else {})}
    there = seen.files if seen is not None else {}
    return [
        File(f"{layout.directory(name)}/{path}", text)
        for path, text in wanted.items()
        if there.get(path) != digest(text)
    ]


def _own(berth: Berth, listen: Listen) -> list[File] | Problem:
    """What is missing or about to run out, signed by the tenant's own authority."""
    from pgberth.database import certificate

    name, seen, now = berth.tenant.name, berth.look(), certificate.utc()
    files = seen.files if seen is not None else {}
    place, server = layout.directory(name), f"etc/{layout.CERTIFICATE}"
    ours, made = f"{layout.tls(name)}/{_AUTHORITY}", []
    if f"tls/{_AUTHORITY}" in files:
        signer = _said(_WHOLE, ours)
    else:
        signer = certificate.authority(name, now)
        made.append(File(ours, signer))
    try:
        trusted = certificate.first(signer)
        if files.get("tls/ca.crt") != digest(trusted):
            made.append(File(layout.ca_file(name), trusted))
        text = _said(_CERTIFICATES, f"{place}/{server}") if server in files else ""
        why = certificate.fault(text, listen, now, days=certificate.RENEWED_DAYS, authority=trusted)
        if why is not None:
            if text:
                host.log(f"{name}: its certificate {why}: a new one is made")
            made.append(File(f"{place}/{server}", certificate.issued(listen, signer, now)))
    except ValueError as error:
        return Problem(f"{name}: ~/{ours} is not understood: {error}", f"clients trust what it signed: {_PAGE}")
    return made


def _said(script: str, *arguments: str) -> str:
    """Past pyinfra's facts, which print what they return at -vvv: it may be a key."""
    done, output = host.run_shell_command(commands.shell(script, *arguments, timeout=20))
    return f"{output.stdout.strip()}\n" if done else ""
