"""Connection URLs of a tenant's components: the published ones, and any other given a component's search_path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypedDict
from urllib.parse import quote, unquote

from pgberth.model import layout
from pgberth.model.problems import Refused
from pgberth.model.roles import APP_LOGINS, DATABASE
from pgberth.model.secret import Secret

EXTENSION_SCHEMA = "public"
LOOPBACK = "127.0.0.1"

# How a client takes the path. `options=` works with libpq and all who speak like it; a parameter of the setting's
# own name is what Go's lib/pq was given of old, and libpq refuses it.
Dialect = Literal["libpq", "lib_pq"]

_SCHEME = re.compile(r"postgres(?:ql)?://")
_HOST = re.compile(r"(?:\[[^]]*\]|[^][:]*)(?::[0-9]*)?")
_ENCODE = "write @ as %40, / as %2F, ? as %3F and # as %23 in its user, password, host and database"


def search_path(component: str) -> tuple[str, ...]:
    """Schemas of a component's connection, in order: its own, then the one that holds pgvector."""
    return (component, EXTENSION_SCHEMA)


def options(component: str) -> str:
    """The startup option that sets a component's search_path, as it stands in a URL."""
    return quote(f"-csearch_path={','.join(search_path(component))}", safe="-_")


def tenant_url(
    port: int,
    component: str | None = None,
    *,
    passfile: str | None = None,
    password: Secret | None = None,
    user: str = APP_LOGINS[0],
    host: str = LOOPBACK,
    root: str | None = None,
) -> str:
    """
    A libpq URL for the tenant on this port, of loopback unless `host` says otherwise.

    + component: whose schema comes first on the search_path; None leaves the path to the role's default
    + passfile: absolute path; keeps the password out of the URL, and so out of an argv
    + password: written into the URL, for the one place that may show it
    + host: what a client in a network of its own calls that loopback; or the name in the server's certificate
    + root: the file of who signed that certificate, or "system"; then there is no session without TLS
    """
    login = user if password is None else f"{user}:{_encoded(password.reveal())}"
    url = f"postgresql://{login}@{host}:{port}/{DATABASE}"
    if component is not None:
        url = with_search_path(url, component)
    told = {} if root is None else {"sslmode": "verify-full", "sslrootcert": root}
    for name, value in {**told, **({"passfile": passfile} if passfile is not None else {})}.items():
        url += f"{'&' if '?' in url else '?'}{name}={_encoded(value, safe='/')}"
    return url


def _encoded(text: str, safe: str = "") -> str:
    """Percent-encoded, the tilde too, which a shell may take for a home."""
    return quote(text, safe=safe).replace("~", "%7E")


class Place(TypedDict, total=False):
    """Arguments of tenant_url."""

    host: str
    root: str


def trusted(listening: Mapping[str, object], home: str, tenant: str) -> Place:
    """
    Host and root of the URL of a server that listens beyond loopback; nothing where it does not.

    + listening: SpecFile.listening
    + home: of the service account
    """
    if not listening:
        return {}
    root = f"{home}/{layout.root_file(tenant, own=bool(listening.get('own')))}" if listening.get("ca") else "system"
    return {"host": str(listening["host"]), "root": root}


def passfile_line(port: int, password: Secret, user: str = APP_LOGINS[0], host: str = LOOPBACK) -> str:
    """The line of a libpq passfile for that login on this port."""
    escaped = password.reveal().replace("\\", "\\\\").replace(":", "\\:")
    return f"{host}:{port}:{DATABASE}:{user}:{escaped}\n"


def variable(component: str | None) -> str:
    """The environment variable a component's URL is published under."""
    return "DATABASE_URL" if component is None else f"{component.upper()}_DATABASE_URL"


def component_url(component: str, given: Mapping[str, str], *, dialect: Dialect = "libpq") -> str:
    """
    The URL a component's client connects with: its own variable, byte for byte, or else DATABASE_URL with the path.

    + given: environment variable -> URL, as an operator set them; an empty one counts as not set

    Raises Refused where neither is set, or as with_search_path does.
    """
    if own := given.get(variable(component), ""):
        return own
    if not (general := given.get(variable(None), "")):
        raise Refused.because(f"neither {variable(component)} nor {variable(None)} is set", "set one of them")
    return with_search_path(general, component, dialect=dialect)


def with_search_path(url: str, component: str, *, dialect: Dialect = "libpq", name: str = "DATABASE_URL") -> str:
    """
    The URL with the component's search_path in it, and otherwise byte for byte as it was.

    + name: what the URL is called where it is refused; its text, which may hold a password, is never told

    A URL that carries the same path already comes back as it is. Raises Refused where it carries another one, where
    it is not a URL, and where clients would read it differently.
    """
    given = _Given.of(url, name)
    desired = search_path(component)
    stated = list(given.search_paths())
    for text in stated:
        if schemas(text) != desired:
            fact = f"{name}: its search_path is {text!r}, and {component} needs {','.join(desired)!r}"
            raise Refused.because(fact, f"take it out of {name}, or set {variable(component)}, which is left as it is")
    if stated:
        return url
    if dialect == "lib_pq":
        return given.adding(f"search_path={','.join(desired)}").text()
    if given.fragment:  # libpq: part of the database's name, or of the last parameter; for others the URL ends there
        raise given.refused("it has a fragment (#), which libpq does not know", "take it out, or write # as %23")
    return given.with_option(options(component)).text()


@dataclass(frozen=True)
class _Given:
    """
    A URL cut where every client cuts it; text() puts it together again.

    + query: what stands between ? and #; None where there is no ?
    + fragment: with its #, "" where there is none
    """

    name: str
    before: str
    query: str | None
    fragment: str

    @classmethod
    def of(cls, url: str, name: str) -> _Given:
        """Raises Refused where clients would not agree on where its parts begin."""
        rest, sign, fragment = url.partition("#")
        before, mark, query = rest.partition("?")
        given = cls(name, before, query if mark else None, sign + fragment)
        if not (scheme := _SCHEME.match(url)):
            raise given.refused("it does not begin with postgresql:// or postgres://", "give it as a URL")
        if re.search(r"[\x00-\x1f\x7f]", url):
            raise given.refused("it holds a line break or another control character", "take it out")
        if re.search(r"%(?![0-9A-Fa-f]{2})|%00", url):
            raise given.refused("it holds a % that begins no escape", "write a plain % as %25")
        if not _plain(url[scheme.end() :]):
            raise given.refused("clients do not agree on where its password, host and database end", _ENCODE)
        for pair in given.pairs():
            if "=" not in pair:
                raise given.refused("a parameter of its query has no =", f"give it a value, or take it out; {_ENCODE}")
        return given

    def refused(self, fact: str, hint: str) -> Refused:
        return Refused.because(f"{self.name}: {fact}", hint)

    def text(self) -> str:
        return self.before + ("" if self.query is None else f"?{self.query}") + self.fragment

    def pairs(self) -> list[str]:
        """The parameters as written, name=value each."""
        return self.query.removesuffix("&").split("&") if self.query else []

    def parameters(self) -> Iterator[tuple[str, str]]:
        """(name, value) of each parameter, decoded."""
        for pair in self.pairs():
            name, _, value = pair.partition("=")
            yield unquote(name), unquote(value)

    def search_paths(self) -> Iterator[str]:
        """Every search_path that it states, whichever way. Raises Refused where its options are not understood."""
        yield from (value for name, value in self.parameters() if name.lower() == "search_path")
        for _, value in self.options():
            yield from (path for setting, path in self.settings(value) if setting == "search_path")

    def options(self) -> list[tuple[int, str]]:
        """(place among the pairs, decoded value) of its `options`, one at most: of two, clients take either."""
        found = [(place, value) for place, (name, value) in enumerate(self.parameters()) if name == "options"]
        if len(found) > 1:
            raise self.refused("it has options= twice", "make one of them: options=-cA%3D1%20-cB%3D2")
        if any("+" in self.pairs()[place] for place, _ in found):
            raise self.refused("its options= hold a plain +, a blank to some clients only", "write %20 or %2B")
        return found

    def settings(self, text: str) -> Iterator[tuple[str, str]]:
        """(name, value) of each setting in a decoded options=, as the server's command line has them."""
        if re.fullmatch(r"(?:\\.|[^\\])*", text, re.DOTALL) is None:
            raise self.refused("its options= end in a backslash", "take it out")
        words = iter(re.findall(r"(?:\\.|[^\\ \t\n\v\f\r])+", text, re.DOTALL))
        for word in words:
            switch = word[:2]
            told = next(words, "") if word == "-c" else word[2:] if switch in ("-c", "--") else ""
            setting, sign, value = re.sub(r"\\(.)", r"\1", told, flags=re.DOTALL).partition("=")
            if not (setting and sign):
                raise self.refused(f"its options= are not understood at {switch!r}", "write each as -cNAME%3DVALUE")
            yield setting.lower().replace("-", "_"), value

    def adding(self, pair: str) -> _Given:
        """With one more parameter at the query's end."""
        query = self.query or ""
        return replace(self, query=query + ("&" if query and not query.endswith("&") else "") + pair)

    def with_option(self, option: str) -> _Given:
        """With one more startup option: in the options= that is there, or in one of its own."""
        found = self.options()
        if not found or self.query is None:
            return self.adding(f"options={option}")
        pairs = self.query.split("&")
        place, value = found[0]
        pairs[place] += f"%20{option}" if value else option
        return replace(self, query="&".join(pairs))


def _plain(rest: str) -> bool:
    """
    Whether all clients find the same user, password, host and database in what follows the scheme.

    libpq looks for an @ up to the first slash, whatever lies between; others cut at / ? and # first, and take the
    last @ before them.
    """
    until_slash, until_query = rest.partition("/")[0], re.split("[?#]", rest, maxsplit=1)[0]
    authority, _, database = until_query.partition("/")
    hosts = authority.rpartition("@")[2].split(",")
    return (
        not re.search(r"[?#].*@", until_slash)
        and authority.count("@") < 2
        and "@" not in database
        and all(_HOST.fullmatch(host) for host in hosts)
    )


_SCHEMA = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^\s,"]+))\s*(,|\Z)')


def schemas(text: str) -> tuple[str, ...] | None:
    """The schemas of a search_path as the server reads it, case folded unless quoted; None where it is not a list."""
    found: list[str] = []
    more, place = ",", 0
    while more:
        match = _SCHEMA.match(text, place)
        if match is None:
            return None
        quoted, plain, more = match.groups()
        found.append(plain.lower() if quoted is None else quoted.replace('""', '"'))
        place = match.end()
    return tuple(found)
