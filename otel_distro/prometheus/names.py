"""Names, units and labels as Prometheus wants them.

Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", and what upstream's exporter makes of
it, so that dashboards keep working. Where the two differ: byte units are spelled as they are spelled elsewhere
(tebibytes, kilobytes); unit "1" adds nothing, as upstream has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.sdk.util.instrumentation import InstrumentationScope

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_IN_LABELS = re.compile(r"[^a-zA-Z0-9]+")
_ANNOTATION = re.compile(r"\{.*\}", re.DOTALL)
_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "TiBy": "tebibytes", "kBy": "kilobytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes",
    "TBy": "terabytes", "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams",
    "Cel": "celsius", "Hz": "hertz", "1": "", "%": "percent",
}  # fmt: skip
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


def metric_name(name: str) -> str:
    """A stream's name with every run of other characters as one underscore, never empty and never led by a digit."""
    if name[:1].isdigit():
        name = "_" + name[1:]
    return _NOT_IN_NAMES.sub("_", name) or "_"


def label_name(key: str) -> str:
    """An attribute's key likewise; `le` belongs to histograms and becomes `exported_le`."""
    if key[:1].isdigit():
        key = "_" + key[1:]
    name = _NOT_IN_LABELS.sub("_", key) or "_"
    return "exported_le" if name == "le" else name


def unit_word(unit: str) -> str:
    """A UCUM unit in words: `ms` is `milliseconds`, `By/s` `bytes_per_second`, `1/s` `per_second`, `{x}` nothing."""
    unit = _ANNOTATION.sub("", unit)
    if unit in _UNITS:
        return _UNITS[unit]
    top, slash, bottom = unit.partition("/")
    bottom = _NOT_IN_NAMES.sub("_", bottom) if slash else ""
    if bottom:
        word = _UNITS.get(top)  # empty of `1`
        top = _NOT_IN_NAMES.sub("_", top) if word is None else word
        words = f"{top}_per_{_PER.get(bottom, bottom)}" if top else f"per_{_PER.get(bottom, bottom)}"
    else:
        words = unit
    return _NOT_IN_NAMES.sub("_", words).strip("_")


def family_name(name: str, unit: str, *, counter: bool) -> tuple[str, str]:
    """The family's name and its unit, the name ending in the unit, without `_total`.

    Args:
        name: of the stream.
        unit: UCUM.
        counter: whether a `_total` in the name is the suffix that samples get anyway.
    """
    name = metric_name(name)
    if counter:
        name = name.removesuffix("_total") or "_"
    word = unit_word(unit)
    if word and name != word and not name.endswith(f"_{word}"):
        name = f"{name}_{word}"
    return name, word if name != word else ""


def text(value: Any) -> str:
    """An attribute's value as a label's: strings as they are, everything else as JSON (specification, "Attribute")."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def label_value(value: str) -> str:
    """A label's value as it stands between quotes, always valid UTF-8."""
    value = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def help_text(description: str, *, quotes: bool) -> str:
    """A description as it stands after `# HELP`; OpenMetrics escapes quotes too."""
    value = description.replace("\\", "\\\\").replace("\n", "\\n")
    value = value.replace('"', '\\"') if quotes else value
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def labels(attributes: Mapping[str, Any], extra: Iterable[tuple[str, Any]] = ()) -> str:
    """`a="x",b="y"`, sorted by name, without braces.

    Keys that become one name have their values joined by `;` in the order of the keys (specification, "Metric
    Attributes").

    Args:
        attributes: of a series or a resource.
        extra: more of them, such as the scope's.
    """
    joined: dict[str, str] = {}
    for key, value in sorted([*attributes.items(), *extra], key=lambda pair: pair[0]):
        name = label_name(key)
        joined[name] = f"{joined[name]};{text(value)}" if name in joined else text(value)
    return ",".join(f'{name}="{label_value(value)}"' for name, value in sorted(joined.items()))


def scope_labels(scope: InstrumentationScope) -> list[tuple[str, Any]]:
    """The labels of a scope; its attributes called name, version or schema_url give way to the scope's own."""
    own = {
        "otel_scope_name": scope.name or "",
        "otel_scope_version": scope.version or "",
        "otel_scope_schema_url": scope.schema_url or "",
    }
    more = {f"otel_scope_{label_name(key)}": value for key, value in (scope.attributes or {}).items()}
    return [*{**more, **own}.items()]
