"""What a check is, and what it examines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from pgberth.container.state import ContainerState, TenantState
from pgberth.database.session import ROLE_IS_FULL, connect
from pgberth.migrations.drift import Trait
from pgberth.model import layout
from pgberth.model.roles import SUITE
from pgberth.model.secret import Secret
from pgberth.model.server import Server
from pgberth.model.sessions import Activity
from pgberth.model.tenant import Tenant
from pgberth.model.url import search_path

Connection = psycopg.Connection[Any]

_CONNECT_SECONDS = 6  # the server itself gives a login five
_JUDGED_AS = (
    "all connections of {} are in use: its password was accepted, and the checks were made as {}, which has its rights;"
    " runbooks/no-free-connection.md"
)
_TIME_LIMITS = "-cstatement_timeout=10s -clock_timeout=3s -cidle_in_transaction_session_timeout=30s"


@dataclass(frozen=True)
class CheckContext:
    """
    One live tenant, for the length of a suite.

    + address: where its port answers on this side
    + password: the app's
    + suite_password: of the role that has the app's rights and connections that the app cannot take
    + files: the configuration the server should have, name -> text
    + baseline: the catalogue of a fresh run; None where it was not asked for
    + no_baseline: why there is none
    + root: the authority, in PEM, that clients beyond loopback trust; "" for what their system trusts
    + ask_activity: who is connected at the moment of the call
    + notes: what a check found that still works, but not for long; and what it could not ask as the app
    """

    tenant: Tenant
    state: TenantState
    container: ContainerState
    server: Server
    address: tuple[str, int]
    password: Secret
    suite_password: Secret
    files: dict[str, str]
    baseline: tuple[Trait, ...] | None = None
    no_baseline: str = ""
    root: str = ""
    ask_activity: Callable[[], Activity] = Activity
    notes: list[str] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)
    _sessions: dict[str, Connection] = field(default_factory=dict)

    @property
    def login(self) -> str:
        """The role the app logs in as now."""
        return self.state.spec.app_login

    @property
    def listening(self) -> Mapping[str, object]:
        """Where the running server listens beyond loopback; nothing where it does not."""
        return self.state.spec.listening

    @property
    def hba(self) -> str:
        """The pg_hba.conf in force, as the container's own command has it."""
        return layout.HBA_TLS if self.listening else layout.HBA

    def client(self) -> Connection:
        """
        A session as the app's clients have one; one with the same rights where all connections of the app are in use.

        The server says that they are only after it accepted the password. The run's notes tell which one was judged.
        """
        try:
            return self._session("client", self.login, self.password, _TIME_LIMITS)
        except psycopg.OperationalError as error:
            if ROLE_IS_FULL not in str(error):
                raise
            if (note := _JUDGED_AS.format(self.login, SUITE)) not in self.notes:
                self.notes.append(note)
            return self.app()

    def app(self, component: str | None = None) -> Connection:
        """A session with the app's rights for a component's URL; one for each, kept open for the next check."""
        # In the connection: that overrides what the app may have set for its own role.
        path = f" -csearch_path={','.join(search_path(component))}" if component else ""
        return self._session(component or "", SUITE, self.suite_password, _TIME_LIMITS + path)

    def _session(self, key: str, user: str, password: Secret, options: str) -> Connection:
        if key not in self._sessions or self._sessions[key].closed:
            session = self.connect(user, password, options=options)
            self._sessions[key] = self._open.enter_context(session)
        return self._sessions[key]

    def connect(self, user: str, password: Secret | None, **parameters: Any) -> Connection:
        """A session with the tenant's server, within seconds. Raises psycopg.OperationalError."""
        return connect(self.address, user, password, connect_timeout=_CONNECT_SECONDS, **parameters)

    @property
    def open_sessions(self) -> list[Connection]:
        """The sessions that `client` and `app` opened."""
        return list(self._sessions.values())

    def close(self) -> None:
        self._open.close()


@dataclass(frozen=True)
class Check:
    """
    One assertion.

    + id: what an operator greps for
    + promise: what holds when it is green
    + find: problems, each a short fact; none where the promise holds
    + component: only for tenants that have this component
    + needs_baseline: only in verbs that make a baseline
    + beyond_loopback: only for servers that listen there
    + observed: judges the observation alone, and asks the server nothing; `status` does these
    """

    id: str
    promise: str
    find: Callable[[CheckContext], Iterable[str]]
    component: str | None = None
    needs_baseline: bool = False
    beyond_loopback: bool = False
    observed: bool = False


@contextmanager
def rolled_back(connection: Connection) -> Iterator[psycopg.Cursor[Any]]:
    """A transaction whose writes never stay."""
    with connection.transaction(force_rollback=True), connection.cursor() as cursor:
        yield cursor


def expect_refused(
    act: Callable[[], object], wanted: Callable[[psycopg.Error], bool], what: str, accepted: str
) -> Iterator[str]:
    """
    A problem unless the server refuses the act for the wanted reason; a refusal for another reason proves nothing.

    + what: names the act, as in "... was refused for another reason"
    + accepted: the problem where the server does not refuse
    """
    try:
        act()
    except psycopg.Error as error:
        if not wanted(error):
            reason = f"{error.sqlstate} {error.diag.message_primary}" if error.sqlstate else str(error)
            yield f"{what} was refused for another reason: {reason}"
    else:
        yield accepted


def rolled_back_statement(connection: Connection, statement: str) -> None:
    """Execute a statement in a transaction that is rolled back. Raises psycopg.Error."""
    with rolled_back(connection) as cursor:
        cursor.execute(statement.encode())


def one(cursor: psycopg.Cursor[Any], query: Any, parameters: Any = None) -> Any:
    """The first column of the first row; None where there is no row."""
    row = cursor.execute(query, parameters).fetchone()
    return row[0] if row is not None else None
