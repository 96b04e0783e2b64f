"""The certificate of a server that listens beyond loopback: it exists, is for its address, and is renewed in time."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress

from pyinfra import host, state

from pgberth import commands
from pgberth.commands import Commands, File, guarded_operation
from pgberth.container.context import TenantContext
from pgberth.database.operations import digest, reload_sql
from pgberth.model import layout
from pgberth.model.listen import Listen
from pgberth.model.plain_file import UnfitFile, read_plain_file
from pgberth.model.problems import Problem, Refused
from pgberth.model.tenant import Tenant

_PAGE = "runbooks/certificate-is-refused.md"
_AUTHORITY = "ca.pem"  # with its key: it signs the next certificate
_CERTIFICATES = 'sed -n "/^-----BEGIN CERT/,/^-----END CERT/p" "$1"'
_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)  # SSLRequest, as the protocol has it
_SECONDS = 6
_LIMIT = 1 << 20  # bytes of a file of certificates

Texts = Mapping[str, str]


def read_external(tenants: list[Tenant]) -> Mapping[str, Texts]:
    """
    Tenant -> kind of file ("certificate", "key", "ca") -> its text, of external certificates.

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
    """Kind of file -> its text, and kind of file -> what is wrong with it."""
    # Imported only where it is needed: cryptography takes a large part of a second run's time.
    from pgberth.database import certificate

    texts, faults = {}, {}
    for kind in ("certificate", "key", "ca"):
        if path := getattr(listen, kind):
            try:
                texts[kind] = read_plain_file(path, _LIMIT).decode()
                if kind != "key":
                    texts[kind] = certificate.certificates(texts[kind])  # a key beside them would go to every client
            except (OSError, UnicodeDecodeError) as error:
                faults[kind] = f"cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}"
            except UnfitFile as unfit:
                faults[kind] = str(unfit)
            except ValueError:
                faults[kind] = "is not a certificate in PEM"
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


@guarded_operation()
def certificate_current(context: TenantContext) -> Commands:
    """
    The tenant's server has a certificate for where it listens. One of our own authority is renewed in time.

    A running server shows it to its next session, and no session ends for it. A server that will listen elsewhere, or
    show another kind of certificate, keeps the one it was started with until it is recycled. One from elsewhere is
    installed by the runs that have read it.
    """
    observed, listen, external = context.observe(), context.tenant.listen, context.certificate
    if not observed.ready or listen is None or (listen.given and not external):
        return
    runs = observed.spec.listening if observed.running else {}
    missing = _external_files(context, listen, external) if external else _own_files(context, listen)
    if runs and runs["file"] != listen.file and runs["own"]:
        previous = Listen(str(runs["address"]), str(runs["host"]) if runs["host"] != runs["address"] else "")
        missing += _own_files(context, previous, file=str(runs["file"]))
    loose = [path for path, mode in observed.modes.items() if mode != "600" and _is_ours(path)]
    if loose:
        host.log(f"{context.name}: repairing: {', '.join(loose)} could be read by others")
        yield context.change(commands.script("container/close-files.sh"), layout.directory(context.name), *loose)
    if missing:
        yield context.write_files(*dict.fromkeys(missing))
    if runs and (missing or not _is_shown(context, str(runs["file"]))):
        yield context.superuser(reload_sql())


def _is_ours(path: str) -> bool:
    return path.startswith("tls/") or (path.startswith("etc/server-") and path.endswith(".pem"))


def _is_shown(context: TenantContext, file: str) -> bool:
    """
    Whether the server presents the certificate that is in its file; true if it does not answer.

    A run may have been killed between writing the file and the reload.
    """
    if not state.is_executing:
        return True
    from pgberth.database import certificate
    from pgberth.database.session import reached  # with the driver: only a tenant that listens is asked

    with suppress(OSError, ValueError), reached(context.port) as address:
        text = _read_file(f"{layout.etc(context.name)}/{file}", certificates=True)
        return certificate.first(shown(address)) == certificate.first(text)
    return True  # it does not answer; the checks report why


def _external_files(context: TenantContext, listen: Listen, texts: Texts) -> list[File]:
    """The files of an external certificate that are missing or differ."""
    chain = "".join(f"{texts[kind].strip()}\n" for kind in ("certificate", "key"))
    desired = {f"etc/{listen.file}": chain, **({"tls/given.crt": texts["ca"]} if "ca" in texts else {})}
    return [file for path, text in desired.items() for file in _missing(context, path, text)]


def _own_files(context: TenantContext, listen: Listen, file: str = "") -> list[File]:
    """What is missing or expires soon, signed by the tenant's authority. Raises Refused where that is unreadable."""
    from pgberth.database import certificate

    name, files, now = context.name, context.observe().files, certificate.utc()
    server, authority = f"etc/{file or listen.file}", f"{layout.tls(name)}/{_AUTHORITY}"
    made: list[File] = []
    if f"tls/{_AUTHORITY}" in files:
        signer = _read_file(authority)
    else:
        signer = certificate.authority(name, now)
        made.append(File(authority, signer))
    try:
        trusted = certificate.first(signer)
        made += _missing(context, "tls/ca.crt", trusted)
        path = f"{layout.directory(name)}/{server}"
        text = _read_file(path, certificates=True) if server in files else ""
        fault = certificate.fault(text, listen, now, days=certificate.RENEWED_DAYS, authority=trusted)
        if fault is not None:
            if text:
                host.log(f"{name}: its certificate {fault}: a new one is made")
            made.append(File(path, certificate.issued(listen, signer, now)))
    except ValueError as error:
        fact = f"{name}: ~/{authority} is not understood: {error}"
        raise Refused.because(fact, f"clients trust what it signed: {_PAGE}") from None
    return made


def _missing(context: TenantContext, path: str, text: str) -> list[File]:
    same = context.observe().files.get(path) == digest(text)
    return [] if same else [File(f"{layout.directory(context.name)}/{path}", text)]


def trusted_by_clients(context: TenantContext) -> str:
    """The authority, in PEM, that clients of the running server trust; "" for whatever their system trusts."""
    listening = context.observe().spec.listening
    if not listening.get("ca"):
        return ""
    return _read_file(layout.root_file(context.name, own=bool(listening.get("own"))))


def shown(address: tuple[str, int], context: ssl.SSLContext | None = None, name: str = "") -> str:
    """
    The certificate, in PEM, that the server shows to its next client.

    + context, name: of a client that verifies it; otherwise it is only read

    Raises OSError where the server shows none, ssl.SSLCertVerificationError where that client would reject it.
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


def _read_file(path: str, *, certificates: bool = False) -> str:
    """
    A file of the tenant; "" where it cannot be read.

    + certificates: only the certificates in it

    Not by a fact: pyinfra prints what facts return at -vvv, and it may be a key.
    """
    script = _CERTIFICATES if certificates else 'cat "$1"'
    done, output = host.run_shell_command(commands.shell(script, path, timeout=20))
    return f"{output.stdout.strip()}\n" if done else ""
