"""A client like the tenant's own, logging in again and again with what is published, while a verb changes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gevent
import psycopg

from pgberth.connectors.tunnel import loopback
from pgberth.database.session import connect
from pgberth.model.secret import Secret

PAUSE = 0.05  # seconds between two logins


@dataclass
class LiveClient:
    """
    + login, password: as published; whoever publishes others says so at once
    + logins: how many got in and were answered
    + refused: the server's own words, one for each that did not
    """

    login: str
    password: Secret
    logins: int = 0
    refused: list[str] = field(default_factory=list)

    def published(self, login: str, password: Secret) -> None:
        self.login, self.password = login, password

    def knock(self, address: tuple[str, int]) -> None:
        """One login and one question."""
        try:
            with connect(address, self.login, self.password) as session:
                session.execute("SELECT 1")
        except psycopg.Error as error:
            self.refused.append(str(error).strip())
        else:
            self.logins += 1

    @contextmanager
    def at_work(self, host: Any, port: int) -> Iterator[LiveClient]:
        """In the background, from one login before what is done inside to one after it."""
        with loopback(host, port) as address:
            self.knock(address)
            worker = gevent.spawn(self._keep_on, address)
            try:
                yield self
            finally:
                worker.kill()
            self.knock(address)

    def _keep_on(self, address: tuple[str, int]) -> None:
        while True:
            gevent.sleep(PAUSE)
            self.knock(address)
