"""What all requests with the same method, scheme, protocol and host have in common, worked out once.

Source: semantic conventions 1.44, "HTTP spans", server; "Setting `server.address` and `server.port` attributes".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from opentelemetry.util.types import AnyValue

from otel_distro.bounded import BoundedCache
from otel_distro.context import REQUEST_ID
from otel_distro.redaction import redact_query, redact_target
from otel_distro.tracing.brief import TakesBrief, Texts

from .metrics import Group, Groups
from .options import Scope

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_VERSIONS = frozenset({"0.9", "1.0", "1.1", "2", "2.0", "3", "3.0"})
"""Versions of HTTP that there are; h11 takes any two digits, of which a stranger makes a hundred series of each."""
_REMEMBERED = 65_536  # characters of headers
# longer values are cut: a span is no place for a megabyte somebody sent
MAX_PATH = 4_096
MAX_QUERY = 4_096
MAX_USER_AGENT = 1_024
MAX_ADDRESS = 256
_MAX_METHOD = 64
_MOST_OF_CALLERS = 262_144  # bytes, about
_PATH, _QUERY = "url.path", "url.query"
_ENCODED = itemgetter(1)
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "WS"})


Caller = tuple[Mapping[str, AnyValue], bytes]
"""The attributes of a caller, clean, and as they were encoded; nothing where nobody had asked for that."""

Facts = tuple[Any, Any, Any, bytes | None, bytes | None]
"""What one request has to itself, not looked at as long as nobody wants to know.

Path, query and client as they stand in the scope, the user agent's header, and the request id that the caller gave.
"""


class Origin:
    """The common part of requests.

    Args:
        word: the span name's first word: the method, `HTTP` for unknown methods, `WS` for WebSockets.
        attributes: of the spans, which all of them share: not to be written to.
        group: of the metrics that these requests are counted in.
        origins: knows callers and paths, and how both are encoded.

    Attributes:
        word: as given.
        attributes: as given.
        group: as given.
        may_have_body: a method whose requests usually have one.
    """

    __slots__ = ("_origins", "attributes", "group", "may_have_body", "word")

    def __init__(self, word: str, attributes: dict[str, AnyValue], group: Group, origins: Origins) -> None:
        self.word = word
        self.may_have_body = word not in _WITHOUT_BODY
        self.attributes = attributes
        self.group = group
        self._origins = origins

    def own_attributes(self, facts: Facts) -> dict[str, AnyValue]:
        """What a request has to itself as attributes, in a new dictionary."""
        path, query, client, agent, given = facts
        attributes: dict[str, AnyValue] = {**self._origins.caller(client, agent)[0]}
        if path.__class__ is str:
            if len(path) > MAX_PATH:
                path = path[:MAX_PATH]
            attributes[_PATH] = _shown(path)
        if query:
            attributes[_QUERY] = _query(query)
        if given is not None:
            attributes[REQUEST_ID] = _text(given)
        return attributes

    def own_encoded(self, facts: Facts, taker: TakesBrief) -> bytes:
        """The same as `taker` has them."""
        path, query, client, agent, given = facts
        origins = self._origins
        if origins.taker is not taker:
            origins.meet(taker)
        try:
            found = origins.callers.known[client[0] if client else None, agent][1]
        except Exception:  # noqa: BLE001 - nobody seen before, or whatever a server puts there
            found = origins.caller(client, agent)[1]
        if path.__class__ is str:
            if len(path) > MAX_PATH:
                path = path[:MAX_PATH]
            paths = origins.paths
            # none that has to be redacted is ever known
            found += paths.known.get(path) or paths.learn(_shown(path))
        if query:
            found += taker.span_encoder.attributes({_QUERY: _query(query)})
        if given is not None:
            try:
                found += origins.id_heads[len(given)] + given
            except IndexError:
                found += taker.span_encoder.attributes({REQUEST_ID: _text(given)})
        return found

    def all_own_encoded(self, facts: Sequence[Facts], taker: TakesBrief) -> tuple[Iterable[bytes], ...]:
        """The same of many requests, in columns; raises where one has something odd."""
        paths, queries, clients, agents, given = zip(*facts, strict=True)
        origins = self._origins
        if origins.taker is not taker:
            origins.meet(taker)
        # loops of the interpreter's own functions, but for what was never seen
        addresses = [client[0] if client else None for client in clients]
        met: list[Any] = list(map(origins.callers.known.get, zip(addresses, agents, strict=True)))
        if not all(met):
            who = zip(met, clients, agents, strict=True)
            met = [found or origins.caller(client, agent) for found, client, agent in who]
        if set(map(type, paths)) != {str} or max(map(len, paths)) > MAX_PATH:
            raise ValueError("a path that is none, or is cut")
        known: list[Any] = list(map(origins.paths.known.get, paths))
        if not all(known):
            learn = origins.paths.learn
            known = [found or learn(_shown(path)) for found, path in zip(known, paths, strict=True)]
        columns: list[Iterable[bytes]] = [map(_ENCODED, met), known]
        if any(queries):
            encoded = taker.span_encoder.attributes
            columns.append([encoded({_QUERY: _query(query)}) if query else b"" for query in queries])
        heads = origins.id_heads
        if None not in given:
            columns += map(heads.__getitem__, map(len, given)), given
        elif any(given):
            columns.append([b"" if each is None else heads[len(each)] + each for each in given])
        return tuple(columns)


class Origins:
    """Finds the origin of a request, and makes the attributes of its span.

    Args:
        methods: recorded by name; others become `_OTHER`.
        groups: of the metrics.
        quiet_groups: what stands in for them where nothing is measured: WebSockets.

    Attributes:
        taker: for whom attributes are encoded, None before the first span.
        callers: attributes by address and user agent, clean and not to be written to, and as `taker` has them.
        paths: the attributes of paths, as `taker` has them.
        id_heads: what it has before a request id; see `KeyValues.heads`.
    """

    __slots__ = ("_groups", "_methods", "_origins", "_quiet", "callers", "id_heads", "paths", "taker")

    paths: Texts
    id_heads: Sequence[bytes]

    def __init__(self, methods: Collection[str], groups: Groups, quiet_groups: Groups) -> None:
        self._methods = frozenset(methods)
        self._groups = groups
        self._quiet = quiet_groups
        self._origins: BoundedCache[tuple[object, ...], Origin] = BoundedCache(_REMEMBERED)
        self.callers: BoundedCache[tuple[object, bytes | None], Caller] = BoundedCache(_MOST_OF_CALLERS)
        self.taker: TakesBrief | None = None

    def meet(self, taker: TakesBrief) -> None:
        """Encode attributes for `taker` from now on."""
        encoder = taker.span_encoder
        self.paths, self.id_heads = encoder.texts(_PATH), encoder.text_heads(REQUEST_ID)
        self.callers = BoundedCache(_MOST_OF_CALLERS)
        self.taker = taker

    def of(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Origin:
        """The origin of a request.

        Args:
            scope: of an `http` or `websocket` connection.
            headers: by name in lower case.
        """
        try:
            return self._origins.known[scope["method"], scope["scheme"], scope["http_version"], headers[b"host"]]
        except (KeyError, TypeError):
            return self._learn(scope, headers)

    def caller(self, client: Any, agent: bytes | None) -> Caller:
        """What is known of a caller: the same in its next request.

        Args:
            client: address and port, as ASGI has them; anything else has no address.
            agent: the header.
        """
        address = client[0] if isinstance(client, (tuple, list)) and len(client) > 0 else None
        address = str.__str__(address) if isinstance(address, str) else None
        if agent is not None and type(agent) is not bytes:
            agent = _text(agent).encode("utf-8", "replace")
        found = self.callers.get((address, agent))
        return self._meet_caller(address, agent) if found is None else found

    def _meet_caller(self, address: str | None, agent: bytes | None) -> Caller:
        attributes: dict[str, AnyValue] = {}
        if address is not None:
            attributes["client.address"] = address[:MAX_ADDRESS]
        if agent is not None:
            # late: conventions come along, which a start need not
            from opentelemetry.util.http import detect_synthetic_user_agent

            text = attributes["user_agent.original"] = _text(agent)[:MAX_USER_AGENT]
            synthetic = detect_synthetic_user_agent(text)
            if synthetic is not None:
                attributes["user_agent.synthetic.type"] = synthetic
        # before anything is encoded, so that `meet` cannot come between unseen
        callers, taker = self.callers, self.taker
        encoded = b"" if taker is None else taker.span_encoder.attributes(attributes)
        weight = 512 + 4 * (len(agent or b"") + len(address or ""))
        return callers.keep((address, agent), (attributes, encoded), weight)

    def _learn(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Origin:
        host: Any = headers.get(b"host")
        if host is None:
            host = tuple(scope.get("server") or ())
        elif type(host) is not bytes:
            host = _text(host).encode("utf-8", "replace")
        method, scheme, version = scope.get("method"), scope.get("scheme"), scope.get("http_version")
        key = (method, scheme, version, host)
        found = self._origins.get(key)
        return self._make(key, scope) if found is None else found

    def _make(self, key: tuple[object, ...], scope: Scope) -> Origin:
        method, scheme, version, host = key
        websocket = scope["type"] == "websocket"
        # some servers take it from a header (`X-Forwarded-Proto`) as it comes
        scheme = str(scheme) if scheme in _PORTS else ("ws" if websocket else "http")
        version = str(version) if version in _VERSIONS else ""
        attributes: dict[str, AnyValue] = {"url.scheme": scheme, **_server(host, scheme)}
        if websocket:
            attributes["network.protocol.name"] = "websocket"
            # the handshake is a request, and every HTTP server span has a method (semantic conventions)
            attributes["http.request.method"] = "GET"
            origin = Origin("WS", attributes, self._quiet.of("GET", scheme, version), self)
        else:
            known, original = self._method(method)
            attributes["http.request.method"] = known
            if original is not None:
                attributes["http.request.method_original"] = original
            if version:
                attributes["network.protocol.version"] = version
            word = "HTTP" if known == "_OTHER" else known
            origin = Origin(word, attributes, self._groups.of(known, scheme, version), self)
        return self._origins.keep(key, origin, 256 + sum(len(part) for part in key if isinstance(part, (str, bytes))))

    def _method(self, method: object) -> tuple[str, str | None]:
        given = method if isinstance(method, str) else ""
        known = given.upper()
        if known not in self._methods:
            known = "_OTHER"
        return known, (given[:_MAX_METHOD] if given and known != given else None)


def _server(host: object, scheme: str) -> dict[str, AnyValue]:
    """`server.address` and `server.port` from the Host header, or from the socket where there is none."""
    if isinstance(host, tuple):
        address = host[0] if host else None
        port = host[1] if len(host) > 1 else None
    else:
        address, port = _split_host(_text(host))
        port = _PORTS.get(scheme) if port is None else port
    if not isinstance(address, str) or not address:
        return {}
    return (
        {"server.address": address} if not isinstance(port, int) else {"server.address": address, "server.port": port}
    )


def _split_host(host: str) -> tuple[str | None, int | None]:
    """Host and port of a Host header; `(None, None)` for anything that is not one (userinfo, a path, two hosts)."""
    host = host.strip()
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, ""
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    elif ":" in name:
        return None, None
    usable = name and len(name) <= 255 and not any(c in "/?#@,\\[] " or c < "!" for c in name)
    if not usable or (port and not (port.isascii() and port.isdigit() and len(port) <= 5)):
        return None, None
    return name, (int(port) if port else None)


def _shown(path: str) -> str:
    return path if ";" not in path and "@" not in path else redact_target(path)


def _query(raw: Any) -> str:
    text = _text(raw[:MAX_QUERY] if isinstance(raw, (bytes, str)) else raw)
    return redact_query(text[:MAX_QUERY])


def _text(raw: object) -> str:
    """Bytes of a request as text; what is not UTF-8 is replaced, never refused."""
    return raw.decode("utf-8", "replace") if isinstance(raw, (bytes, bytearray)) else str(raw)


def facts_of(scope: Scope, headers: Mapping[bytes, bytes], given: bytes | None = None) -> Facts:
    """What a new server span tells of its request alone, as it stands in the scope at this moment.

    Args:
        scope: of the connection.
        headers: by name in lower case.
        given: the request id that the caller gave.
    """
    get = scope.get
    return get("path"), get("query_string"), get("client"), headers.get(b"user-agent"), given
