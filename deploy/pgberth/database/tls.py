"""The certificate of a server that listens beyond loopback: there, for its address, and renewed in time."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pyinfra import host, state
from pyinfra.api import operation

from pgberth import commands
from pgberth.commands import Commands, File
from pgberth.container.context import TenantContext
from pgberth.database.operations import RELOAD, digest
from pgberth.database.session import reached
from pgberth.model import layout
from pgberth.model.listen import Listen, listening
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import Tenant

_PAGE = "runbooks/certificate-is-refused.md"
_AUTHORITY = "ca.pem"  # with its key: it signs the next certificate
_CERTIFICATES = 'sed -n "/^-----BEGIN CERT/,/^-----END CERT/p" "$1"'
_CLOSE = 'cd "$HOME/$1" && shift && chmod 0600 -- "$@"'
_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)  # SSLRequest, as the protocol has it
_SECONDS = 6

Texts = Mapping[str, str]


def given(tenants: list[Tenant]) -> Mapping[str, Texts]:
    """
    Tenant -> kind of file ("certificate", "key", "ca") -> its text, for certificates that come from elsewhere.

    Raises Refused with everything that cannot be used.
    """
    problems: list[Problem] = []
    found: dict[str, Texts] = {}
    for tenant in tenants:
        if tenant.listen is not None and tenant.listen.given:
            found[tenant.name], faults = _read(tenant.listen)
            problems += [
                Problem(f"{tenant.name}: {kind} {getattr(tenant.listen, kind)} {why}", f"nothing was touched; {_PAGE}")
                for kind, why in faults.items()
            ]
    if problems:
        raise Refused(problems)
    return found


def _read(listen: Listen) -> tuple[Texts, Mapping[str, str]]:
    """Kind of file -> its text, and what is wrong with it."""
    # Only where it is asked for: cryptography is a good part of a second run's time.
    from pgberth.database import certificate

    texts, faults = {}, {}
    for kind in ("certificate", "key", "ca"):
        if path := getattr(listen, kind):
            try:
                texts[kind] = Path(path).read_text()
                if kind != "key":
                    texts[kind] = certificate.certificates(texts[kind])  # a key beside them would go to every client
            except (OSError, UnicodeDecodeError) as error:
                faults[kind] = f"cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}"
            except ValueError:
                faults[kind] = "is no certificate in PEM"
    if not faults:
        fault = certificate.fault(texts["certificate"], listen, certificate.utc(), days=0)
        wrong = certificate.key_fault(texts["key"], texts["certificate"]) if fault is None else None
        if fault is not None:
            faults["certificate"] = fault
        elif wrong is not None:
            faults["key"] = wrong
        elif refused := certificate.refused_by_a_client(listen, texts.get("ca", "")):
            faults["certificate"] = refused
    return texts, faults


@operation()
def certificate_current(context: TenantContext, given: Texts | None) -> Commands:
    """
    The tenant's server has a certificate for where it listens; one of our own authority's is renewed in time.

    + given: the files of one that comes from elsewhere, as `given` reads them

    A running server takes it up for its next session, and no session ends for it. One that is to listen elsewhere, or
    to show another kind of certificate, goes on with the one that it was started with until it is recycled.
    """
    observed, listen = context.observe(), context.tenant.listen
    if observed is None or observed.machine_profile is None or listen is None:
        return
    runs = listening(observed.spec) if observed.container is not None and observed.container.running else {}
    desired = _given(context, listen, given) if given else _own(context, listen)
    if not isinstance(desired, Problem) and runs and runs["file"] != listen.file and runs["own"]:
        previous = Listen(str(runs["address"]), str(runs["host"]) if runs["host"] != runs["address"] else "")
        more = _own(context, previous, file=str(runs["file"]))
        desired = more if isinstance(more, Problem) else [*desired, *more]
    if isinstance(desired, Problem):
        yield commands.refuse(desired)
        return
    loose = [path for path, mode in observed.modes.items() if mode != "600" and _is_ours(path)]
    if loose:
        host.log(f"{context.tenant.name}: repairing: {', '.join(loose)} could be read by others")
        yield context.change(_CLOSE, layout.directory(context.tenant.name), *loose)
    if desired:
        yield context.write_files(*dict.fromkeys(desired))
    if runs and (desired or not _taken_up(context, str(runs["file"]))):
        yield context.superuser(RELOAD)


def _is_ours(path: str) -> bool:
    return path.startswith("tls/") or (path.startswith("etc/server-") and path.endswith(".pem"))


def _taken_up(context: TenantContext, file: str) -> bool:
    """Whether the server shows what lies in its file: whoever wrote it may have been killed before he said so."""
    if not state.is_executing:
        return True
    from pgberth.database import certificate

    with suppress(OSError, ValueError), reached(context.port) as address:
        text = _said(_CERTIFICATES, f"{layout.etc(context.tenant.name)}/{file}")
        return certificate.first(shown(address)) == certificate.first(text)
    return True  # it does not answer; the checks tell why


def _given(context: TenantContext, listen: Listen, texts: Texts) -> list[File]:
    """What is not there yet."""
    chain = "".join(f"{texts[kind].strip()}\n" for kind in ("certificate", "key"))
    desired = {f"etc/{listen.file}": chain, **({"tls/given.crt": texts["ca"]} if "ca" in texts else {})}
    return [file for path, text in desired.items() for file in _missing(context, path, text)]


def _own(context: TenantContext, listen: Listen, file: str = "") -> list[File] | Problem:
    """What is missing or about to run out, signed by the tenant's own authority."""
    from pgberth.database import certificate

    name, observed, now = context.tenant.name, context.observe(), certificate.utc()
    files = observed.files if observed is not None else {}
    server, ours, made = f"etc/{file or listen.file}", f"{layout.tls(name)}/{_AUTHORITY}", []
    if f"tls/{_AUTHORITY}" in files:
        signer = _said('cat "$1"', ours)
    else:
        signer = certificate.authority(name, now)
        made.append(File(ours, signer))
    try:
        trusted = certificate.first(signer)
        made += _missing(context, "tls/ca.crt", trusted)
        text = _said(_CERTIFICATES, f"{layout.directory(name)}/{server}") if server in files else ""
        why = certificate.fault(text, listen, now, days=certificate.RENEWED_DAYS, authority=trusted)
        if why is not None:
            if text:
                host.log(f"{name}: its certificate {why}: a new one is made")
            made.append(File(f"{layout.directory(name)}/{server}", certificate.issued(listen, signer, now)))
    except ValueError as error:
        return Problem(f"{name}: ~/{ours} is not understood: {error}", f"clients trust what it signed: {_PAGE}")
    return made


def _missing(context: TenantContext, path: str, text: str) -> list[File]:
    observed = context.observe()
    there = observed.files.get(path) if observed is not None else None
    return [] if there == digest(text) else [File(f"{layout.directory(context.tenant.name)}/{path}", text)]


def trusted_by_clients(context: TenantContext) -> str:
    """What clients of the server that runs are to trust, in PEM; "" where that is whatever their system does."""
    observed = context.observe()
    name, told = context.tenant.name, listening(observed.spec) if observed is not None else {}
    return _said('cat "$1"', layout.root_file(name, own=bool(told.get("own")))) if told.get("ca") else ""


def shown(address: tuple[str, int], context: ssl.SSLContext | None = None, name: str = "") -> str:
    """
    The certificate, in PEM, that the server shows to its next client.

    + context, name: of a client that judges it; otherwise it is looked at, and not trusted

    Raises OSError where it has none to show, ssl.SSLCertVerificationError where that client would hang up.
    """
    if context is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(address, _SECONDS) as line:
        line.sendall(_REQUEST)
        if line.recv(1) != b"S":
            raise OSError("it does not speak TLS")
        with context.wrap_socket(line, server_hostname=name or None) as session:
            return ssl.DER_cert_to_PEM_cert(session.getpeercert(binary_form=True) or b"")


def _said(script: str, *arguments: str) -> str:
    """Past pyinfra's facts, which print what they return at -vvv: it may be a key."""
    done, output = host.run_shell_command(commands.shell(script, *arguments, timeout=20))
    return f"{output.stdout.strip()}\n" if done else ""
