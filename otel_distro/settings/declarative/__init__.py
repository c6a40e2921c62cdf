"""`OTEL_CONFIG_FILE`: a declarative configuration, read as the environment variables that say the same.

So a file gives the pipeline of the equivalent variables by construction, and every rule, default and complaint about a
value exists once. Source: OpenTelemetry specification, "Declarative configuration", schema 1.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from otel_distro.records import dataclass, field, replace
from otel_distro.settings._problem import Problem

from ._document import parse
from ._mapping import map_document

VARIABLE = "OTEL_CONFIG_FILE"
_MOST_BYTES = 1_000_000
_INSTEAD = "the other variables and the defaults count"


@dataclass(frozen=True, slots=True)
class Declared:
    """What a file says.

    Attributes:
        environ: the environment as if its variables had said it.
        origins: variable -> the place in the file that its value comes from.
        ignored: variables of the environment that are not read beside the file.
    """

    environ: Mapping[str, str]
    origins: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()

    def placed(self, problem: Problem) -> Problem:
        """The problem under the name of the place in the file, if its value came from there."""
        origin = self.origins.get(problem.variable)
        if origin is None:
            return problem
        return replace(problem, variable=f"{VARIABLE} {origin}", leave=True)


def _read(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123 - a path from the environment, read once
        raw = file.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"longer than {_MOST_BYTES} bytes")
    return raw.decode()


def declared(
    environ: Mapping[str, str],
    problems: list[Problem],
    *,
    specified: frozenset[str],
    read: Callable[[str], str] = _read,
) -> Declared:
    """What the file named by `OTEL_CONFIG_FILE` says; the environment itself where that is broken.

    Variables of the specification are ignored beside a file (specification, SDK environment variables); those that
    it has no word for, which are Python's and ours, count as ever.

    Args:
        environ: the environment, with that variable.
        problems: gets what cannot be used.
        specified: names of the specification's variables.
        read: gives the text of the file at a path; raises `OSError` or `ValueError`.
    """
    path = environ[VARIABLE].strip()
    try:
        document, referenced = parse(read(path), path, environ)
        found = map_document(document)
    except ModuleNotFoundError:
        _broken(problems, path, "reading YAML needs PyYAML: pip install 'otel-distro[config]', or write JSON")
    except (OSError, ValueError, RecursionError) as error:
        _broken(problems, path, _why(error))
    else:
        problems += found.problems
        ignored = frozenset(
            name for name in environ if name in specified and name != VARIABLE and environ[name].strip()
        )
        unread = sorted(ignored - referenced)
        if unread:
            reason = f"beside it, {', '.join(unread)} {'is' if len(unread) == 1 else 'are'} not read"
            problems.append(
                Problem(VARIABLE, path[:200], reason, "${NAME} in the file refers to a variable", leave=True)
            )
        kept = {name: text for name, text in environ.items() if name not in specified or name == VARIABLE}
        return Declared({**kept, **found.environ}, found.origins, ignored)
    return Declared(environ)


def _broken(problems: list[Problem], path: str, reason: str) -> None:
    # children find no file, and what was said here holds for them
    problems.append(Problem(VARIABLE, path[:200], reason, _INSTEAD))


def _why(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"the file cannot be read: {error.strerror or type(error).__name__}"
    if isinstance(error, UnicodeDecodeError):
        return "the file is not UTF-8"
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


__all__ = ["Declared", "declared"]
