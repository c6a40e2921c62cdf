"""What an application put into a log record, as plain data: bounded, redacted, and without running any of its code.

`extra` may hold anything: an object whose `repr` raises, never ends or is as long as the memory. So an object is shown
by its type, unless the standard library made it; only text, numbers, dicts, lists and the like are looked into.
"""

from __future__ import annotations

from enum import EnumMeta
from math import isfinite
from typing import Any, cast

from otel_distro.guard import let_through
from otel_distro.redaction import REDACTED, is_secret_attribute, is_secret_option, redact_message

LONGEST = 16_384
"""Characters of one text; what follows is cut off."""

_DEEPEST = 6
_MOST_ITEMS = 64  # of one dict or list
_MOST_NODES = 1_000  # of one value altogether
_LONGEST_BYTES = 1_024
_NUMBER_BITS = 1_024

_TEXTS = frozenset({str, bytes})
# exactly these types: a subclass may have code of its own
_TEXTUAL = frozenset(
    {
        ("datetime", "datetime"),
        ("datetime", "date"),
        ("datetime", "time"),
        ("datetime", "timedelta"),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("ipaddress", "IPv4Address"),
        ("ipaddress", "IPv4Network"),
        ("ipaddress", "IPv6Address"),
        ("ipaddress", "IPv6Network"),
        ("pathlib", "PosixPath"),
        ("pathlib", "PurePosixPath"),
        ("pathlib", "WindowsPath"),
        ("pathlib._local", "PosixPath"),
        ("pathlib._local", "PurePosixPath"),
        ("uuid", "UUID"),
    }
)
_SIZES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32")
_NUMPYS = frozenset({("numpy", name) for name in (*_SIZES, "bool", "bool_", "longlong", "ulonglong")})
"""Numbers of NumPy that are none of Python's; `item()` makes them one."""


def text(value: str) -> str:
    """A text without secrets, at most `LONGEST` characters."""
    if len(value) > LONGEST:
        value = value[: LONGEST - 1] + "…"
    return redact_message(value)


def plain(value: object) -> Any:
    """`value` as None, bool, int, finite float, str, or lists and dicts of these; never raises."""
    kind = type(value)
    if kind is str:
        return text(value)  # type: ignore[arg-type]  # exactly a str
    if kind is bool or value is None:
        return value
    if kind is int:
        return _number(value)  # type: ignore[arg-type]  # exactly an int
    return _Walk().plain(value, 0)


def field(name: str, value: object) -> Any:
    """The same for a named field, whose name may tell that it is a secret."""
    return REDACTED if is_secret_attribute(name) and value is not None else plain(value)


def is_secret_pair(value: Any) -> bool:
    """Whether a tuple is a secret's name and its value, as headers and items of mappings are."""
    if tuple.__len__(value) != 2:
        return False
    name, secret = tuple.__iter__(value)
    if type(name) is bytes:
        name = name[:_LONGEST_BYTES].decode("utf-8", "replace")
    return type(name) is str and type(secret) in _TEXTS and is_secret_attribute(name)


def type_name(value: object) -> str:
    """`<module.Class>` of an object, the class alone for built-in ones."""
    return f"<{class_name(type(value))}>"


def class_name(kind: type) -> str:
    """`module.Class`, the class alone for built-in ones."""
    try:
        module, name = kind.__module__, kind.__qualname__
    except Exception:  # noqa: BLE001 - a metaclass may do anything
        return "unknown"
    return name if module == "builtins" else f"{module}.{name}"


def _number(value: int) -> str | int:
    bits = int.bit_length(value)
    return int.__int__(value) if bits <= _NUMBER_BITS else f"<int of {bits} bits>"


class _Walk:
    """One value's way to plain data, with a bound on how much is looked at."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _MOST_NODES

    def plain(self, value: object, depth: int) -> Any:
        self._left -= 1
        try:
            return self._plain(value, depth)
        except Exception as raised:  # noqa: BLE001 - a metaclass, a broken __class__: whatever it is, it has a type
            let_through(raised)
            return type_name(value)

    def _plain(self, value: object, depth: int) -> Any:  # noqa: PLR0911 - one line a type
        kind = type(value)
        if value is None or kind is bool:
            return value
        # the base classes' own methods, so that no subclass's code runs
        if issubclass(kind, str):
            return text(str.__str__(cast("str", value)))
        if issubclass(kind, int):
            return _number(value)  # type: ignore[arg-type]
        if issubclass(kind, float):
            number = float.__float__(value)  # type: ignore[arg-type]
            return number if isfinite(number) else float.__repr__(number)
        if issubclass(kind, (bytes, bytearray)):
            return text(bytes(value[:_LONGEST_BYTES]).decode("utf-8", "replace"))  # type: ignore[index]
        place = kind.__module__, kind.__qualname__
        if place in _TEXTUAL:
            return text(str(value))
        if place in _NUMPYS:
            return self.plain(cast("Any", value).item(), depth)
        if isinstance(kind, EnumMeta):
            return self.plain(object.__getattribute__(value, "_value_"), depth)
        if issubclass(kind, BaseException):
            return self._error(value)  # type: ignore[arg-type]
        return self._container(value, kind, depth)

    def _container(self, value: Any, kind: type, depth: int) -> Any:
        for base in (dict, list, tuple, set, frozenset):
            if issubclass(kind, base):
                if depth >= _DEEPEST or self._left <= 0:
                    return type_name(value)
                return self._dict(value, depth) if base is dict else self._list(value, base, depth)
        return type_name(value)

    def _dict(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key in list(dict.keys(value))[: _MOST_ITEMS + 1]:
            if len(shown) >= _MOST_ITEMS or self._left <= 0:
                shown["…"] = f"{dict.__len__(value) - len(shown)} more"
                break
            name = key if type(key) is str else str(self.plain(key, _DEEPEST))
            item = dict.get(value, key)
            shown[name] = REDACTED if is_secret_attribute(name) and item is not None else self.plain(item, depth + 1)
        return shown

    def _list(self, value: Any, base: Any, depth: int) -> list[Any]:
        if base is tuple and is_secret_pair(value):
            return [self.plain(value[0], depth + 1), REDACTED]
        shown: list[Any] = []
        secret = False
        for item in base.__iter__(value):
            if len(shown) >= _MOST_ITEMS or self._left <= 0:
                shown.append(f"… {base.__len__(value) - len(shown)} more")
                break
            shown.append(REDACTED if secret else self.plain(item, depth + 1))
            secret = is_secret_option(item)
        return shown

    def _error(self, error: BaseException) -> str:
        arguments = object.__getattribute__(error, "args")
        told = [str(argument) for argument in arguments if type(argument) in {str, int}]
        return text(": ".join([class_name(type(error)), *told]))


__all__ = ["LONGEST", "class_name", "field", "is_secret_pair", "plain", "text", "type_name"]
