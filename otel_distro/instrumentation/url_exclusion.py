"""Which URLs make no telemetry: decided once per URL, remembered within bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from otel_distro.bounded import BoundedCache
from otel_distro.guard import Guard
from otel_distro.patterns import usable

_REMEMBERED = 65_536  # characters of URLs


def patterns_of(text: str) -> tuple[str, ...]:
    """Regular expressions of URLs in the form that contrib takes: one text, separated by commas."""
    return tuple(part for raw in text.split(",") if (part := raw.strip()))


def excluding(patterns: Iterable[str], guard: Guard) -> Callable[[str], bool] | None:
    """A test of URLs against regular expressions that may match anywhere; None where there are none.

    Args:
        patterns: one that does not compile is left out and said.
        guard: gets it.
    """
    found = usable(patterns, "excluded URLs", guard)
    if len(found) == 1:
        search = found[0].search
        return lambda url: search(url) is not None
    return (lambda url: any(pattern.search(url) for pattern in found)) if found else None


class Exclusion:
    """Answers whether a URL is excluded.

    Args:
        test: told the URL as contrib builds it, `scheme://host/path` without the query.
    """

    __slots__ = ("_known", "_test")

    def __init__(self, test: Callable[[str], bool]) -> None:
        self._test = test
        self._known: BoundedCache[tuple[object, object, object], bool] = BoundedCache(_REMEMBERED)

    def excludes(self, scheme: str, host: str, path: str) -> bool:
        """Whether this URL makes no telemetry; whatever the test raises is raised."""
        key = (scheme, host, path)
        known = self._known.get(key)
        if known is None:
            known = self._known.keep(key, bool(self._test(f"{scheme}://{host}{path}")), len(path) + len(host) + 64)
        return known
