"""What the probe reports about a tenant's server."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pgberth.model.problems import visible
from pgberth.model.roles import APP_LOGINS
from pgberth.model.spec_file import SpecFile


@dataclass(frozen=True)
class AccessFinding:
    """Something in roles and rights that differs. + kind: role, setting, grant, ...; see access.verify.sql.j2"""

    kind: str
    object: str
    problem: str

    def __str__(self) -> str:
        return visible(f"{self.kind} {self.object} {self.problem}", one_line=True)


@dataclass(frozen=True)
class StoredVerifier:
    """A stored SCRAM verifier, known well enough to compare with. + salt: base64; digest: SHA-256 in hex"""

    salt: str
    iterations: int
    digest: str


@dataclass(frozen=True)
class LiveSetting:
    """
    One setting that is not the server's built-in default.

    + value, unit: as in pg_settings: 8192 and "8kB"; unit "" where there is none
    + context: "postmaster" for one that needs a new start
    + source: the file it comes from, or "command line", "environment variable"
    """

    name: str
    value: str
    unit: str
    context: str
    source: str


@dataclass(frozen=True)
class Server:
    """
    A tenant's server as its superuser sees it.

    + verifiers: role -> verifier, for every role that has one
    + ledger: rows of migrations.ledger.heads_script
    + findings: rows of migrations.verify.verify_sql
    + unread: the server's words where it did not give the findings, as where a table is locked; "" otherwise
    + hba_errors: lines of pg_hba.conf that the server does not understand
    + hba_stale: whether that file was written after the server read it
    + settings: those that come from a file or the command line
    + config_errors: lines of its configuration that the server does not understand, or cannot apply
    """

    version: str
    system_identifier: str
    data_directory: str
    checksums: bool
    vector: str
    vector_available: str
    in_recovery: bool
    verifiers: Mapping[str, StoredVerifier]
    access: tuple[AccessFinding, ...]
    ledger: tuple[Mapping[str, Any], ...]
    findings: tuple[Mapping[str, Any], ...]
    unread: str
    hba_errors: tuple[str, ...]
    hba_sha256: str
    hba_stale: bool
    settings: tuple[LiveSetting, ...]
    config_errors: tuple[str, ...]

    @classmethod
    def parse(cls, answer: Mapping[str, Any], spec: SpecFile) -> Server:
        """
        From the probe's answer.

        + spec: says which of the app's roles may log in
        """
        body = {name: value for name, value in answer.items() if name not in ("sessions", "slots")}
        logins = _login_findings(body.pop("app_logins"), spec.open_logins)
        return cls(
            **{
                **body,
                "verifiers": {role: StoredVerifier(**verifier) for role, verifier in body["verifiers"].items()},
                "access": (*(AccessFinding(**row) for row in body["access"]), *logins),
                "ledger": tuple(body["ledger"]),
                "findings": tuple(body["findings"]),
                "hba_errors": tuple(body["hba_errors"]),
                "settings": tuple(LiveSetting(**row) for row in body["settings"]),
                "config_errors": tuple(body["config_errors"]),
            }
        )


def _login_findings(found: Collection[str], desired: Collection[str]) -> Iterator[AccessFinding]:
    for role in APP_LOGINS:
        if (role in found) != (role in desired):
            yield AccessFinding("role", role, "cannot log in" if role in desired else "can log in")
