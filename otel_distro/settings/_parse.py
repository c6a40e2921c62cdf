"""From a mapping of environment variables to frozen settings and a list of problems; nothing is raised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from otel_distro.records import replace

from . import _aliases, _rules
from ._parts import InstalledNames
from ._problem import Problem, Weight
from ._values import DROPPED, Unusable
from ._variable import SPEC, Group, Record, Variable
from .catalogue import Settings

if TYPE_CHECKING:
    from .declarative import Declared

G = TypeVar("G", bound=Record)

INTERNAL = frozenset(
    {
        "OTEL_DISTRO_CACHE",
        "OTEL_DISTRO_DISABLED_INSTRUMENTATIONS",
        "OTEL_DISTRO_LAUNCH",
        "OTEL_DISTRO_PARENT_SERVICE_NAME",
        "OTEL_DISTRO_SAID",
    }
)
"""What processes of one launch leave to each other, and where the development scripts keep their downloads."""


def parse(
    environ: Mapping[str, str],
    installed: InstalledNames = lambda group: (),
    *,
    read: Callable[[str], str] | None = None,
) -> tuple[Settings, list[Problem]]:
    """Parse settings from `environ`.

    Args:
        environ: environment variables; empty values count as unset (specification, environment variables).
        installed: tells which names an entry-point group has.
        read: gives the text of the file that `OTEL_CONFIG_FILE` names; it is opened when None.

    Returns:
        The settings, usable whatever the input was, and every problem found, in the order of the catalogue.
    """
    problems: list[Problem] = []
    said = _declared(environ, problems, read)
    filled = _aliases.fill(environ if said is None else said.environ, problems)
    settings = _parse_group(Settings, Group(Settings), filled, problems)
    settings = _rules.apply(settings, filled, installed, problems, () if said is None else said.origins)
    names = environ if said is None else said.environ
    lean = settings.distro.pipeline == "lean"
    known = _known()
    read_by_none = {
        name: text
        for name, text in names.items()
        if name.startswith("OTEL_") and name not in known and name not in INTERNAL and text.strip()
    }
    if read_by_none:
        from . import _names  # where every name is read nobody pays for what is said of others

        problems += _names.check(read_by_none, known, exporters=settings.traces.exporters, lean=lean)
    if said is not None:
        problems = [said.placed(problem) for problem in problems]
        # upstream's code reads the ignored variables all the same, and dies of some values
        rest = {name: text for name, text in environ.items() if name in said.ignored}
        problems += [replace(problem, weight=Weight.SILENT) for problem in parse(rest, installed)[1]]
    return settings, _unique(problems)


def _declared(
    environ: Mapping[str, str], problems: list[Problem], read: Callable[[str], str] | None
) -> Declared | None:
    if not environ.get("OTEL_CONFIG_FILE", "").strip():
        return None
    from .declarative import declared  # who has no file does not pay for it

    more = {} if read is None else {"read": read}
    return declared(environ, problems, specified=_specified(), **more)


def describe() -> Iterator[tuple[str, Variable]]:
    """Every variable's full name and description, in the order of the catalogue, for reference tables."""
    yield from _describe(Settings, "", set())


def repair(environ: dict[str, str] | Any, problems: Iterable[Problem]) -> None:
    """Make `environ` safe for code that reads the variables itself (upstream raises on some while it is imported).

    Child processes inherit the repaired values, so a wrong setting is named once a launch and not once a process.
    """
    for problem in problems:
        if problem.leave:
            continue
        if problem.repair is None:
            environ.pop(problem.variable, None)
        else:
            environ[problem.variable] = problem.repair


def _parse_group(type_: type[G], group: Group, environ: Mapping[str, str], problems: list[Problem]) -> G:
    values: dict[str, Any] = {}
    for name, described in type_.described.items():
        if type(described) is Group:
            values[name] = _parse_group(described.type, described, environ, problems)
        elif type(described) is Variable:  # anything else is a conclusion of the rules, not a setting
            found = _read(described, group, environ, problems)
            if found is not None:
                values[name] = found
    return type_(**values)


def _read(variable: Variable, group: Group, environ: Mapping[str, str], problems: list[Problem]) -> Any:
    names = [name for name in _names_of(variable, group) if environ.get(name, "").strip()]
    for number, name in enumerate(names, 1):
        text = environ[name].strip()
        try:
            return variable.kind.parse(text)
        except Unusable as unusable:
            problems.append(_problem(variable, name, text, unusable, names[number:]))
            if unusable.rest is not None:
                return unusable.rest
            # a signal's own value that is no value leaves the general one in force
    return None


def _problem(variable: Variable, name: str, text: str, unusable: Unusable, behind: list[str]) -> Problem:
    if unusable.rest is False:
        return Problem(name, _shown(variable, text), unusable.reason, "false is used", repair="false")
    if unusable.rest is not None:
        return Problem(name, _shown(variable, text), unusable.reason, DROPPED, repair=_plain(unusable.rest))
    if behind:
        default = f"{behind[0]} counts"
    else:
        default = "it counts as unset" if variable.default in (None, (), {}) else f"{_plain(variable.default)} is used"
    return Problem(name, _shown(variable, text), unusable.reason, default)


def _known() -> frozenset[str]:
    return frozenset(name for name, _ in describe()) | _aliases.NAMES


def _specified() -> frozenset[str]:
    return frozenset(name for name, variable in describe() if variable.source == SPEC)


def _names_of(variable: Variable, group: Group) -> Iterator[str]:
    yield group.prefix + variable.name
    if group.fallback:
        yield group.fallback + variable.name


def _plain(value: Any) -> str:
    """The text of a value as the environment would hold it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{_quoted(key)}={_quoted(str(text))}" for key, text in value.items())
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _quoted(text: str) -> str:
    # bytes that are not UTF-8 arrive as lone surrogates and leave as the same bytes
    return quote(text, errors="surrogateescape")


def _shown(variable: Variable, text: str) -> str:
    if variable.secret:
        return "***"
    from otel_distro.redaction import redact_message  # only paid for when something is wrong

    shown = redact_message(_rules.without_credentials(text))
    return shown if len(shown) <= 80 else shown[:79] + "…"


def _unique(problems: list[Problem]) -> list[Problem]:
    # a general variable is read once per signal and must still be named once
    return list({(p.variable, p.reason): p for p in problems}.values())


def _describe(type_: type[Record], prefix: str, seen: set[str]) -> Iterator[tuple[str, Variable]]:
    for described in type_.described.values():
        if type(described) is Group:
            for group_prefix in (described.fallback, described.prefix) if described.fallback else (described.prefix,):
                yield from _describe(described.type, group_prefix, seen)
        elif type(described) is Variable:
            name = prefix + described.name
            if name not in seen:
                seen.add(name)
                yield name, described


__all__ = ["Problem", "describe", "parse", "repair"]
