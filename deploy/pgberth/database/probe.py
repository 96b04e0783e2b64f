"""One query that tells all the rooms above want to know of a server, and the answer as values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pgberth.container.state import TenantState
from pgberth.database.access import access_verify_sql
from pgberth.database.settings import Setting
from pgberth.model import layout
from pgberth.model.problems import visible
from pgberth.model.roles import APP_LOGINS, MONITOR
from pgberth.model.tenant import Tenant


@dataclass(frozen=True)
class Finding:
    """Something that is not as wanted. + kind: role, setting, grant, ...; see access.verify.sql.j2"""

    kind: str
    object: str
    problem: str

    def __str__(self) -> str:
        return visible(f"{self.kind} {self.object} {self.problem}", one_line=True)


@dataclass(frozen=True)
class Verifier:
    """A stored SCRAM verifier, known well enough to compare with. + salt: base64; digest: SHA-256 in hex"""

    salt: str
    iterations: int
    digest: str


@dataclass(frozen=True)
class Server:
    """
    A tenant's server as its superuser sees it.

    + verifiers: role -> verifier, for every role that has one
    + ledger: rows of migrations.ledger.HEADS_SQL
    + findings: rows of migrations.verify.verify_sql
    + hba_errors: lines of pg_hba.conf the server does not understand
    + hba_stale: whether that file was written after the server read it
    + settings: those that come from a file or the command line
    + config_errors: lines of its configuration the server does not understand, or cannot take up
    """

    version: str
    system_identifier: str
    data_directory: str
    checksums: bool
    vector: str
    vector_available: str
    in_recovery: bool
    verifiers: Mapping[str, Verifier]
    access: tuple[Finding, ...]
    ledger: tuple[Mapping[str, Any], ...]
    findings: tuple[Mapping[str, Any], ...]
    hba_errors: tuple[str, ...]
    hba_sha256: str
    hba_stale: bool
    settings: tuple[Setting, ...]
    config_errors: tuple[str, ...]

    @classmethod
    def of(cls, state: TenantState) -> Server | None:
        """None where the server is down, or has no tenant database yet."""
        if state.server is None:
            return None
        told = dict(state.server)
        logins = _login_findings(state.spec, told.pop("app_logins"))
        return cls(
            **{
                **told,
                "verifiers": {role: Verifier(**verifier) for role, verifier in told["verifiers"].items()},
                "access": (*(Finding(**row) for row in told["access"]), *logins),
                "ledger": tuple(told["ledger"]),
                "findings": tuple(told["findings"]),
                "hba_errors": tuple(told["hba_errors"]),
                "settings": tuple(Setting(**row) for row in told["settings"]),
                "config_errors": tuple(told["config_errors"]),
            }
        )


def _login_findings(spec: Mapping[str, Any], found: Collection[str]) -> Iterator[Finding]:
    """Which of the app's two roles logs in changes with a rotation; the spec file says which."""
    desired = desired_logins(spec)
    for role in APP_LOGINS:
        if (role in found) != (role in desired):
            yield Finding("role", role, "cannot log in" if role in desired else "can log in")


def desired_logins(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The app's roles that may log in: the present one and, while a rotation waits for its clients, the former."""
    previous = layout.previous_login(spec)
    return (layout.app_login(spec), *([previous] if previous else []))


# One JSON object on one line. A role's verifier is never told, only its salt and digest: -vvv prints answers.
_PROBE = r"""BEGIN READ ONLY;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL statement_timeout = '20s';
SET LOCAL lock_timeout = '3s';
-- No view of the owner's making is read as the superuser.
SET LOCAL restrict_nonsystem_relation_kind = 'view, foreign-table';
SELECT jsonb_build_object(
  'version', split_part(current_setting('server_version'), ' ', 1),
  'system_identifier', (SELECT system_identifier::text FROM pg_control_system()),
  'data_directory', current_setting('data_directory'),
  'checksums', current_setting('data_checksums')::boolean,
  'vector', coalesce((SELECT extversion FROM pg_extension WHERE extname = 'vector'), ''),
  'vector_available', coalesce((SELECT default_version FROM pg_available_extensions WHERE name = 'vector'), ''),
  'in_recovery', pg_is_in_recovery(),
  'verifiers', (SELECT coalesce(jsonb_object_agg(rolname, jsonb_build_object(
      'iterations', split_part(split_part(rolpassword, '$', 2), ':', 1)::int,
      'salt', split_part(split_part(rolpassword, '$', 2), ':', 2),
      'digest', encode(sha256(convert_to(rolpassword, 'UTF8')), 'hex'))), '{}')
    FROM pg_authid WHERE rolpassword LIKE 'SCRAM-SHA-256$%'),
  'app_logins', (SELECT coalesce(jsonb_agg(rolname), '[]') FROM pg_roles
                   WHERE rolcanlogin AND rolname IN (APP_LOGINS)),
  'access', (SELECT coalesce(jsonb_agg(found), '[]') FROM (
ACCESS
  ) AS found),
  'findings', (SELECT coalesce(jsonb_agg(found), '[]') FROM (
FINDINGS
  ) AS found),
  'hba_errors', (SELECT coalesce(jsonb_agg(format('line %s: %s', line_number, error)), '[]')
                   FROM pg_hba_file_rules WHERE error IS NOT NULL),
  'settings', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', name, 'value', setting, 'unit', coalesce(unit, ''),
      'context', context, 'source', coalesce(regexp_replace(sourcefile, '.*/', ''), source))), '[]')
    FROM pg_settings WHERE source IN ('configuration file', 'command line', 'environment variable')),
  'config_errors', (SELECT coalesce(jsonb_agg(concat_ws(' ', regexp_replace(sourcefile, '.*/', ''), 'line', sourceline,
      name) || ': ' || error), '[]') FROM pg_file_settings WHERE error IS NOT NULL),
  'hba_sha256', encode(sha256(pg_read_binary_file(current_setting('hba_file'))), 'hex'),
  'hba_stale', (pg_stat_file(current_setting('hba_file'))).modification > pg_conf_load_time()
)::text;
COMMIT;
-- The ledger belongs to the owner: whoever reads it runs what the owner has hung on it. So not as the superuser.
\connect - MONITOR
BEGIN READ ONLY;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL statement_timeout = '20s';
SET LOCAL lock_timeout = '3s';
SELECT jsonb_build_object('ledger', (
LEDGER
))::text;
COMMIT;
"""


def probe_sql(tenant: Tenant, ledger_sql: str, findings_sql: str) -> str:
    """
    The probe for this tenant, as a psql script whose output is one line.

    + ledger_sql: one SELECT of one json value
    + findings_sql: one SELECT; each row becomes an object
    """
    parts = {"ACCESS": access_verify_sql(tenant), "LEDGER": ledger_sql, "FINDINGS": findings_sql}
    text = _PROBE.replace("MONITOR", MONITOR).replace("APP_LOGINS", ", ".join(f"'{role}'" for role in APP_LOGINS))
    for place, part in parts.items():
        text = text.replace(f"\n{place}\n", f"\n{part}\n", 1)
    return text
