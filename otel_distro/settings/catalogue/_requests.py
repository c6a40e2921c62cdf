"""What a request is told apart by, and what it may spend before somebody says so."""

from __future__ import annotations

from collections.abc import Mapping

from otel_distro.settings._values import PAIRS, Kind, Unusable, integer, names
from otel_distro.settings._variable import OURS, Record, variable

_MOST = 86_400_000


def _milliseconds_by_name(text: str) -> Mapping[str, int]:
    found: dict[str, int] = {}
    bad = 0
    try:
        pairs: Mapping[str, str] = PAIRS.parse(text)
    except Unusable as unusable:
        pairs, bad = unusable.rest if isinstance(unusable.rest, dict) else {}, 1
    for name, value in pairs.items():
        if value.isascii() and value.isdigit() and len(value) < 9 and int(value) <= _MOST:
            found[name] = int(value)
        else:
            bad += 1
    if bad:
        raise Unusable("not a list of route=milliseconds", found or None)
    return found


MILLISECONDS_BY_ROUTE = Kind("route=milliseconds list", _milliseconds_by_name)


class Requests(Record):
    """What a request is told apart by, and what it may spend before somebody says so."""

    id: tuple[str, ...] = variable(
        "OTEL_DISTRO_REQUEST_ID",
        names("accept", "echo", "send", "none"),
        ("accept", "echo", "send"),
        "What is done with request ids: taken from callers, answered to them, sent to called services.",
        source=OURS,
    )
    id_headers: tuple[str, ...] = variable(
        "OTEL_DISTRO_REQUEST_ID_HEADERS",
        names(),
        ("X-Request-ID", "X-Correlation-ID"),
        "Headers that carry a request id; the first is used where the caller sent none.",
        source=OURS,
    )
    baggage_keys: tuple[str, ...] = variable(
        "OTEL_DISTRO_BAGGAGE_KEYS",
        names(),
        (),
        "What called services are told as baggage: keys of `set_context`, and `user` for the user's id.",
        source=OURS,
    )
    repeated_statements: int = variable(
        "OTEL_DISTRO_REPEATED_STATEMENTS",
        integer(0, 1_000_000),
        10,
        "How often one request may run the same SQL statement before it is named (N+1); 0 for any number.",
        source=OURS,
    )
    slow: int = variable(
        "OTEL_DISTRO_SLOW_REQUEST",
        integer(0, _MOST),
        0,
        "Milliseconds after which a request is slow and a warning tells what it spent them on; 0 for never.",
        source=OURS,
    )
    slow_routes: Mapping[str, int] = variable(
        "OTEL_DISTRO_SLOW_ROUTES",
        MILLISECONDS_BY_ROUTE,
        {},
        "The same for single routes, `/export/{id}=10000,/chat=0`.",
        source=OURS,
    )
