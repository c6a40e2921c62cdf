"""What a variable's text may be: each kind turns text into a value or says in `ValueError` why it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from otel_distro.records import dataclass

N = TypeVar("N", int, float)

DROPPED = "entries that are not usable are left out"


class Unusable(ValueError):
    """A value that cannot be used as it stands.

    Args:
        reason: one clause, without the value itself.
        rest: the value that remains when only a part is unusable (a list without its bad entries), else None.
    """

    def __init__(self, reason: str, rest: object = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.rest = rest


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: its name in the reference table and its parser (text -> value, raises `Unusable`)."""

    name: str
    parse: Callable[[str], Any]


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered not in {"true", "false"}:
        # OpenTelemetry specification, environment variables: only "true" is true
        raise Unusable("not true or false; only `true` switches on", False)
    return lowered == "true"


def integer(low: int | None = None, high: int | None = None) -> Kind:
    """A whole number within `low`..`high`, both inclusive."""

    def parse(text: str) -> int:
        if len(text) > 20 or not text.lstrip("+-").isascii():
            raise Unusable("not a whole number")
        try:
            value = int(text)
        except ValueError:
            raise Unusable("not a whole number") from None
        return _within(value, low, high)

    return Kind(_ranged("integer", low, high), parse)


def decimal(low: float | None = None, high: float | None = None) -> Kind:
    """A finite number within `low`..`high`, both inclusive."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise Unusable("not a number") from None
        if not math.isfinite(value):
            raise Unusable("not a finite number")
        return _within(value, low, high)

    return Kind(_ranged("number", low, high), parse)


def choice(*names: str, also: Mapping[str, str] | None = None) -> Kind:
    """One of `names`, in any letter case; `also` has other words for some of them."""
    known = {name.lower(): name for name in names} | dict(also or {})

    def parse(text: str) -> str:
        try:
            return known[text.lower()]
        except KeyError:
            raise Unusable(f"not one of {', '.join(names)}{did_you_mean(text, known)}") from None

    return Kind(" \\| ".join(f"`{name}`" for name in names), parse)


def names(*known: str) -> Kind:
    """A comma-separated list without repeats; of `known` names where given, else of any."""

    def parse(text: str) -> tuple[str, ...]:
        entries = tuple(dict.fromkeys(entry for raw in text.split(",") if (entry := raw.strip())))
        if not known:
            return entries
        unknown = [entry for entry in entries if entry not in known]
        kept = tuple(entry for entry in entries if entry in known)
        if unknown:
            hint = did_you_mean(unknown[0], {name: name for name in known})
            raise Unusable(f"{unknown[0]!r} is not one of {', '.join(known)}{hint}", kept or None)
        return kept

    return Kind("list" + (f" of {', '.join(f'`{name}`' for name in known)}" if known else ""), parse)


def patterns() -> Kind:
    """A comma-separated list of regular expressions, as contrib's lists of URLs and headers are."""

    def parse(text: str) -> tuple[str, ...]:
        import re  # the modules that use them import it anyway

        entries = tuple(dict.fromkeys(entry for raw in text.split(",") if (entry := raw.strip())))
        kept, reason = [], ""
        for entry in entries:
            try:
                re.compile(entry)
            except (re.error, RecursionError, OverflowError) as error:
                reason = reason or f"{entry[:40]!r} is no regular expression, {error}"
            else:
                kept.append(entry)
        if reason:
            raise Unusable(reason, tuple(kept) or None)
        return tuple(kept)

    return Kind("list of regular expressions", parse)


def _pairs(text: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    bad = 0
    for raw in text.split(","):
        entry = raw.strip()
        if not entry:
            continue
        key, separator, value = entry.partition("=")
        key = unquote(key.strip())
        if not separator or not key:
            bad += 1
            continue
        # percent-encoded (specification, resource SDK: "Specifying resource information via an environment variable")
        found[key] = unquote(value.strip())
    if bad:
        raise Unusable(f"{bad} of its entries {'is' if bad == 1 else 'are'} not key=value", found)
    return found


def _text(text: str) -> str:
    return text


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Unusable("not a URL of the form http://host:port") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unusable("not a URL of the form http://host:port")
    del port
    return text


def _path(text: str) -> str:
    if not text.startswith("/") or len(text) < 2 or not text.isprintable() or set(text) & set("?#{}* "):
        raise Unusable("not a path such as /metrics")
    return text


def paths() -> Kind:
    """A comma-separated list of paths; `none` is the empty one."""

    def parse(text: str) -> tuple[str, ...]:
        entries = [entry for raw in text.split(",") if (entry := raw.strip()) and entry.lower() != "none"]
        kept = tuple(dict.fromkeys(entry for entry in entries if _is_path(entry)))
        if any(not _is_path(entry) for entry in entries):
            raise Unusable("not a list of paths such as /live", kept or None)
        return kept

    return Kind("list of paths", parse)


def _is_path(text: str) -> bool:
    try:
        return bool(_path(text))
    except Unusable:
        return False


def _within(value: N, low: float | None, high: float | None) -> N:
    if low is not None and value < low:
        raise Unusable(f"below the least value, {low}")
    if high is not None and value > high:
        raise Unusable(f"above the greatest value, {high}")
    return value


def _ranged(name: str, low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{name} {_thin(low)}..{_thin(high)}"
    return f"{name} >= {_thin(low)}" if low is not None else name


def _thin(number: float) -> str:
    return f"{number:,}".replace(",", "\u202f")


def did_you_mean(text: str, known: Mapping[str, str]) -> str:
    """A clause naming the nearest of `known`, or nothing."""
    from difflib import get_close_matches  # only paid for when something is wrong

    near = get_close_matches(text.lower()[:100], list(known), n=1)
    return f"; did you mean {known[near[0]]!r}?" if near else ""


BOOLEAN = Kind("boolean", _boolean)
TEXT = Kind("text", _text)
PAIRS = Kind("key=value list", _pairs)
URL = Kind("URL", _url)
PATH = Kind("path", _path)
MILLISECONDS = integer(0, 86_400_000)
