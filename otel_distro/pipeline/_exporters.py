"""Exporters by name: built in, or installed by others; one that cannot be built never stops the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from otel_distro.guard import Guard

ExporterFactory = Callable[[], Any]

_OLD_NAMES = {"otlp_proto_http": "otlp", "otlp_proto_grpc": "otlp"}
"""Names of upstream's own exporter packages, which users also write."""


def build(
    signal: str,
    names: Sequence[str],
    built_in: Mapping[str, ExporterFactory],
    guard: Guard,
    kinds: Callable[[], tuple[type, ...]] = lambda: (object,),
) -> list[tuple[str, Any]]:
    """Build the exporters of a signal.

    Args:
        signal: `traces`, `metrics` or `logs`.
        names: what the user asked for; `none` among others means none at all.
        built_in: factories by name; another name is looked up among installed entry points.
        guard: gets an exporter that is unknown, fails to build or is none.
        kinds: what an installed exporter must be an instance of; asked where there is one.

    Returns:
        (name, exporter) of those that could be built, in the order of `names`.
    """
    if "none" in names:
        if len(names) > 1:
            guard.warn(f"OTEL_{signal.upper()}_EXPORTER={','.join(names)!r}: `none` switches the others off")
        return []
    made = []
    for name in dict.fromkeys(_OLD_NAMES.get(name, name) for name in names):
        exporter = _one(signal, name, built_in, guard)
        if exporter is not None and name not in built_in and not isinstance(exporter, kinds()):
            guard.failed(
                f"{signal} exporter {name}",
                f"a {type(exporter).__name__} is no exporter of {signal}",
                remedy=f"see OTEL_{signal.upper()}_EXPORTER; the other exporters go on",
            )
            continue
        if exporter is not None:
            made.append((name, exporter))
    return made


def _one(signal: str, name: str, built_in: Mapping[str, ExporterFactory], guard: Guard) -> Any:
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    part = f"{signal} exporter {name}"
    if name in built_in:
        try:
            return built_in[name]()
        except ModuleNotFoundError as error:
            # the protocol grpc is the one built-in way that needs an extra
            guard.failed(part, f"{error.name} is not installed", remedy="pip install 'otel-distro[grpc]'")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the other exporters go on
            guard.failed(part, error)
        return None
    points = tuple(entry_points(group=f"opentelemetry_{signal}_exporter", name=name))
    if not points:
        guard.failed(
            part,
            f"{variable}={name!r}: no exporter of this name is built in or installed",
            remedy=f"built in: {', '.join(sorted(built_in))}; the other exporters go on",
        )
        return None
    return guard.call(part, None, _load, points[0])


def _load(point: EntryPoint) -> Any:
    return point.load()()
