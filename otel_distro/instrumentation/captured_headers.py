"""Captured headers: which of them become attributes, and which of those without their value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from opentelemetry.util.types import AnyValue

from otel_distro.bounded import BoundedCache
from otel_distro.guard import Guard
from otel_distro.patterns import late, usable

HIDDEN = "[REDACTED]"
_REMEMBERED = 16_384  # characters of names
# hidden whatever the user captures: credentials, cookies and what proxies put credentials into
_SECRET = late(r"authori[sz]ation|authenticat|cookie|token|secret|passw|credential|api[-_]?key|session|signature|jwt")
_UNKNOWN = ("", False)
_PART = "captured headers"


class Capture:
    """Picks headers out of a message, each name looked at once.

    Args:
        prefix: of the attributes, `http.request.header.` or `http.response.header.`.
        patterns: of whole names in lower case.
        hidden: find the names of further headers whose values are hidden.
    """

    __slots__ = ("_hidden", "_keys", "_patterns", "_prefix")

    def __init__(self, prefix: str, patterns: Sequence[re.Pattern[str]], hidden: Sequence[re.Pattern[str]]) -> None:
        self._prefix = prefix
        self._patterns = patterns
        self._hidden = hidden
        self._keys: BoundedCache[bytes, tuple[str, bool] | None] = BoundedCache(_REMEMBERED)

    def into(self, attributes: dict[str, AnyValue], headers: Iterable[Sequence[bytes]]) -> None:
        """Put the captured headers into `attributes`, each as a list of its values.

        Args:
            attributes: of a span.
            headers: pairs of names and values, as ASGI gives them.
        """
        found: dict[str, list[str]] = {}
        for name, value in headers:
            key = self._keys.get(name, _UNKNOWN)
            if key is _UNKNOWN:
                key = self._look_at(name)
            if key is not None:
                found.setdefault(key[0], []).append(HIDDEN if key[1] else value.decode("latin-1"))
        attributes.update(found)

    def _look_at(self, raw: bytes) -> tuple[str, bool] | None:
        name = raw.decode("latin-1").lower()
        key: tuple[str, bool] | None = None
        if any(pattern.fullmatch(name) for pattern in self._patterns):
            hidden = _SECRET().search(name) is not None or any(pattern.search(name) for pattern in self._hidden)
            key = (self._prefix + name, hidden)
        return self._keys.keep(raw, key, len(raw) + 32)


def capture(prefix: str, patterns: Iterable[str], hidden: Iterable[str], guard: Guard) -> Capture | None:
    """A capture of these headers, or None where there is nothing to capture.

    Args:
        prefix: of the attributes, `http.request.header.` or `http.response.header.`.
        patterns: names or regular expressions of whole names, in any letter case.
        hidden: regular expressions that match anywhere in a name whose value is hidden; credentials always are.
        guard: gets expressions that do not compile.
    """
    wanted = usable(patterns, _PART, guard, re.IGNORECASE)
    return Capture(prefix, wanted, usable(hidden, _PART, guard, re.IGNORECASE)) if wanted else None
