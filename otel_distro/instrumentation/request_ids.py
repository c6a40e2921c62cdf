"""Request ids in headers: taken from callers where they are well formed, answered to them, sent to called services.

A header may hold anything a stranger wants to see in our logs and in those of the services we call: what is longer
than 128 characters or has others than `A-Za-z0-9._~:/+=@-` is not an id, and one of ours takes its place.
"""

from __future__ import annotations

import re
from binascii import hexlify
from collections import OrderedDict
from collections.abc import Callable, Iterable, MutableMapping
from string import ascii_letters, digits
from typing import Any, Protocol

from opentelemetry import baggage
from opentelemetry.context import Context

from otel_distro import settings
from otel_distro._compat import TRACE_ID
from otel_distro.context import Scope
from otel_distro.guard import Guard

SetHeader = Callable[[str, str], object]

_PART = "request id"
_PROPAGATED = frozenset({"traceparent", "tracestate", "baggage"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch

ID_CHARACTERS = (ascii_letters + digits + "._~:/+=@-").encode("ascii")
"""What is left of an id without them is nothing; asked so because a regular expression takes three times as long."""
LONGEST_ID = 128


class Answered(Protocol):
    """A request that is being answered."""

    given_id: tuple[bytes, bytes] | None
    server_span: Any

    def identify(self) -> str:
        """The id, made if there is none."""
        ...


class RequestIds:
    """What the server side does with request ids.

    Args:
        names: of the headers, as people write them, the preferred one first.
        accepts: whether callers are believed.
        echoes: whether responses carry the id.

    Attributes:
        names: of the headers in which an id is looked for, in lower case.
        echoes: as above.
        preferred: the header of an id that is ours.
    """

    __slots__ = ("_spellings", "echoes", "names", "preferred")

    def __init__(self, names: Iterable[str], *, accepts: bool, echoes: bool) -> None:
        given = tuple(names)
        lowered = tuple(name.lower().encode("ascii") for name in given)
        # looked up as they are: bringing each header of each response into lower case would cost ten times as much
        spellings = {spelt for name in given for spelt in (name, name.lower(), name.title(), name.upper())}
        self._spellings = frozenset(spelt.encode("ascii") for spelt in spellings)
        self.names = lowered if accepts else ()
        self.echoes = echoes
        self.preferred = lowered[0]

    def echo(self, scope: Answered, message: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A copy of `http.response.start` with the request's id, unless the application has put one there itself.

        Args:
            scope: of the request.
            message: left alone, and so are its headers, because an application may send both more than once. Headers
                that are neither a list nor a tuple may be used up by looking at them, and go out as they are.
        """
        headers = message.get("headers", ())
        if headers.__class__ is not list and headers.__class__ is not tuple:
            return message
        spellings = self._spellings
        for name, _ in headers:
            if name in spellings:
                return message
        given = scope.given_id
        if given is None:
            try:
                given = (self.preferred, hexlify(scope.server_span.context[TRACE_ID].to_bytes(16, "big")))
            except (AttributeError, TypeError):  # no span, or none of ours
                given = (self.preferred, scope.identify().encode("ascii"))
        return {**message, "headers": [*headers, given]}


def server_ids(chosen: settings.Requests, guard: Guard) -> RequestIds | None:
    """What the settings want of the server side, None for nothing."""
    names = usable_names(chosen.id_headers, guard)
    accepts, echoes = "accept" in chosen.id, "echo" in chosen.id
    if not names or "none" in chosen.id or not (accepts or echoes):
        return None
    return RequestIds(names, accepts=accepts, echoes=echoes)


class PassingOn:
    """What a client of ours tells the services it calls about the running request.

    Args:
        name: of the request id's header; None to send none.
        keys: of `set_context`, and `user`, whose values are sent as baggage.
        guard: gets headers of a kind nobody knows.

    Attributes:
        name: as given.
        keys: as given.
    """

    __slots__ = ("_encoded", "_guard", "_lowered", "keys", "name")

    def __init__(self, name: str | None, keys: tuple[str, ...], guard: Guard) -> None:
        self.name = name
        self._lowered = (name or "").lower()
        self._encoded = self._lowered.encode("ascii")
        self.keys = keys
        self._guard = guard

    def baggage(self, scope: Scope, context: Context) -> Context:
        """The context with what the settings let out as baggage; what the application put there itself stays.

        Args:
            scope: of the running code.
            context: the current one.
        """
        if not self.keys:
            return context
        known = baggage.get_all(context)
        for key in self.keys:
            value: object = scope.values.get(key)
            if value is None and key == "user" and scope.user is not None:
                value = scope.user[0]
            if value is not None and key not in known:
                context = baggage.set_baggage(key, str(value), context)
        return context

    def id_of(self, scope: Scope) -> str | None:
        """The request's id, made if there is none; None outside a request.

        Args:
            scope: of the running code.
        """
        try:
            return scope.identify()
        except Exception as error:  # noqa: BLE001 - the request is sent without it
            self._guard.failed(_PART, error)
            return None

    def send(self, request_id: str, set_header: SetHeader, headers: Any) -> None:
        """Send the request's id along, unless the application does so itself.

        Args:
            request_id: see `id_of`.
            set_header: called with name and value.
            headers: the request's, as the library has them.
        """
        name = self.name
        try:
            if name is not None and not self._has_own(headers):
                set_header(name, request_id)
        except Exception as error:  # noqa: BLE001 - the request is sent without it
            self._guard.failed(_PART, error)

    def _has_own(self, headers: Any) -> bool:
        if not headers:
            return False
        # asking requests' and httpx's mappings costs a microsecond and more; others know that names have no letter case
        store: Any = getattr(headers, "_store", None)
        if store.__class__ is OrderedDict:
            return self._lowered in store
        pairs: Any = getattr(headers, "_list", None)
        if pairs.__class__ is list:
            return self._encoded in [name for _, name, _ in pairs]
        if headers.__class__ is not dict:
            return self.name in headers
        return any(str(name).lower() == self._lowered for name in headers)


def passing_on(chosen: settings.Requests, guard: Guard) -> PassingOn | None:
    """What the settings want clients to send, None for nothing."""
    names = usable_names(chosen.id_headers, guard)
    name = names[0] if names and "send" in chosen.id and "none" not in chosen.id else None
    return None if name is None and not chosen.baggage_keys else PassingOn(name, chosen.baggage_keys, guard)


def usable_names(names: Iterable[str], guard: Guard) -> tuple[str, ...]:
    """The names that may be headers of ids; others are said once."""
    found = []
    for name in names:
        if not _TOKEN(name):
            guard.warn(f"OTEL_DISTRO_REQUEST_ID_HEADERS: {name[:80]!r} is no name of a header", once=_PART)
        elif name.lower() in _PROPAGATED:
            guard.warn(f"OTEL_DISTRO_REQUEST_ID_HEADERS: {name!r} is the propagator's own and carries no id", once=name)
        else:
            found.append(name)
    return tuple(found)


__all__ = ["ID_CHARACTERS", "LONGEST_ID", "PassingOn", "RequestIds", "passing_on", "server_ids", "usable_names"]
