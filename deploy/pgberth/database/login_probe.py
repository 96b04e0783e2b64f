"""A client that logs in again and again with what is published, while a verb changes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gevent
import psycopg

from pgberth.connectors.tunnel import loopback
from pgberth.database.session import prove_login
from pgberth.model.secret import Secret

PAUSE = 0.05  # seconds between two logins


@dataclass
class LoginProbe:
    """
    + login, password: as published; `use` replaces both
    + logins: how many were accepted
    + refused: the server's own words, one for each login that failed
    """

    login: str
    password: Secret
    logins: int = 0
    refused: list[str] = field(default_factory=list)

    def use(self, login: str, password: Secret) -> None:
        """What is published from now on."""
        self.login, self.password = login, password

    def try_login(self, address: tuple[str, int]) -> None:
        """One login."""
        try:
            prove_login(address, self.login, self.password)
        except psycopg.Error as error:
            self.refused.append(str(error).strip())
        else:
            self.logins += 1

    @contextmanager
    def running(self, host: Any, port: int) -> Iterator[LoginProbe]:
        """In the background, from one login before the body to one after it."""
        with loopback(host, port) as address:
            self.try_login(address)
            worker = gevent.spawn(self._keep_trying, address)
            try:
                yield self
            finally:
                worker.kill()
            self.try_login(address)

    def _keep_trying(self, address: tuple[str, int]) -> None:
        while True:
            gevent.sleep(PAUSE)
            self.try_login(address)
