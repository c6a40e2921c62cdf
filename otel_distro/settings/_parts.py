"""Names of parts that must be installed to be used: propagators, id generators, contexts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ._problem import Problem
from ._values import did_you_mean
from .catalogue import Python

InstalledNames = Callable[[str], Iterable[str]]
"""Names installed under an entry-point group, asked only when a list names something that is not built in."""

_BUILT_IN_PROPAGATORS = ("tracecontext", "baggage", "none")


def propagators(
    chosen: tuple[str, ...], environ: Mapping[str, str], installed: InstalledNames, problems: list[Problem]
) -> tuple[str, ...]:
    """The names that can be used; none at all when `none` is among them.

    Args:
        chosen: as written.
        environ: for the text of the variable.
        installed: names under an entry-point group.
        problems: gets the first name that is not installed.
    """
    unknown = [name for name in chosen if name not in _BUILT_IN_PROPAGATORS]
    if unknown:
        found = set(installed("opentelemetry_propagator"))
        unknown = [name for name in unknown if name not in found]
    if unknown:
        kept = tuple(name for name in chosen if name not in unknown) or ("tracecontext", "baggage")
        hint = did_you_mean(unknown[0], {name: name for name in _BUILT_IN_PROPAGATORS})
        problems.append(
            Problem(
                "OTEL_PROPAGATORS",
                environ.get("OTEL_PROPAGATORS", "")[:80],
                f"no propagator {unknown[0]!r} is installed{hint}",
                f"{','.join(kept)} is used",
                repair=",".join(kept),
            )
        )
        chosen = kept
    # `none` among others means none at all, as upstream reads it
    return () if "none" in chosen else chosen


def detectors(chosen: tuple[str, ...], installed: InstalledNames, problems: list[Problem]) -> tuple[str, ...]:
    """The names that are installed, all of them for `*`; upstream's reader prints a traceback for any other."""
    if not chosen:
        return chosen
    found = tuple(dict.fromkeys(installed("opentelemetry_resource_detector")))
    if "*" in chosen:
        return found
    kept = tuple(name for name in chosen if name in found)
    if kept != chosen:
        name = next(name for name in chosen if name not in kept)
        reason = f"no resource detector {name!r} is installed"
        used = f"{','.join(kept) or 'none'} is used"
        text, variable = ",".join(chosen)[:80], "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"
        problems.append(Problem(variable, text, reason, used, repair=",".join(kept) or None))
    return kept


def python(chosen: Python, installed: InstalledNames, problems: list[Problem]) -> Python:
    """`chosen` with the default in the place of each part that is not installed."""
    default = Python()
    return chosen.replace(
        context=_one(
            "OTEL_PYTHON_CONTEXT", chosen.context, default.context, "opentelemetry_context", installed, problems
        ),
        id_generator=_one(
            "OTEL_PYTHON_ID_GENERATOR",
            chosen.id_generator,
            default.id_generator,
            "opentelemetry_id_generator",
            installed,
            problems,
        ),
    )


def _one(  # noqa: PLR0917 - one row of the table above
    name: str, text: str, default: str, group: str, installed: InstalledNames, problems: list[Problem]
) -> str:
    if text == default or text in set(installed(group)):
        return text
    problems.append(Problem(name, text[:80], f"no {group} of this name is installed", f"{default} is used"))
    return default
