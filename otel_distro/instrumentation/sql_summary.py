"""The summary of an SQL text: operations and their targets in order, such as `SELECT users orders`.

Source: semantic conventions, "Generating a summary of the query". This is a scanner of words, not a parser: what it
does not understand it leaves out.
"""

from __future__ import annotations

import re

from otel_distro.patterns import late
from otel_distro.records import dataclass, field

MAX_SUMMARY = 255

_TOKEN = late(
    r'(?P<name>(?:"(?:[^"]|"")*+"|`(?:[^`]|``)*+`|\[[^\]\[]*\]|[^\W\d][\w$#@]*+)'
    r'(?:\s*+\.\s*+(?:"(?:[^"]|"")*+"|`(?:[^`]|``)*+`|\[[^\]\[]*\]|[^\W\d][\w$#@]*+))*+)'
    r"|(?P<mark>[(),;])|(?P<other>[^\s\w(),;]++|\w++)"
)
_DATA = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "UPSERT"})
_DEFINITION = frozenset({"CREATE", "ALTER", "DROP", "TRUNCATE"})
_PROCEDURE = frozenset({"CALL", "EXEC", "EXECUTE"})
_COLLECTIONS = frozenset({"TABLE", "VIEW"})
_OBJECTS = _COLLECTIONS | {"INDEX", "SCHEMA", "DATABASE", "SEQUENCE", "TYPE", "FUNCTION", "TRIGGER", "ROLE"}
_OPENS_TARGET = frozenset({"FROM", "JOIN", "STRAIGHT_JOIN", "INTO"})
# FROM and STRAIGHT_JOIN behind these words name nothing: IS DISTINCT FROM, SELECT STRAIGHT_JOIN a.x FROM a
_NOT_OPENED_AFTER = {
    "FROM": frozenset({"DISTINCT"}),
    "STRAIGHT_JOIN": frozenset({"SELECT", "ALL", "DISTINCT", "DISTINCTROW", "HIGH_PRIORITY"}),
}
# directly behind INSERT and UPDATE these are no tables: GRANT INSERT ON t, UPDATE TOP (?) t
_NO_TARGET = frozenset({"ALL", "ON", "TOP", "VALUES"})
_OPERATIONS_ON_TARGET = frozenset({"INSERT", "UPDATE"})
# UPDATE, INSERT and DELETE behind these words belong to another operation: FOR UPDATE, ON CONFLICT DO UPDATE, ...
_NOT_AN_OPERATION_AFTER = frozenset({"FOR", "DO", "KEY", "ON", "THEN", "BEFORE", "AFTER", "OR", "OF"})
_SKIPPED_BEFORE_TARGET = frozenset(
    {"IF", "NOT", "EXISTS", "ONLY", "LATERAL", "CONCURRENTLY", "IGNORE", "LOW_PRIORITY", "UNIQUE", "TEMPORARY", "TEMP"}
    | {"OR", "REPLACE", "MATERIALIZED", "UNLOGGED", "GLOBAL", "LOCAL", "DELAYED", "HIGH_PRIORITY", "OVERWRITE"}
)
_CTE = late(r"\b([^\W\d]\w*+)\s*+(?:\([^()]*+\)\s*+)?\bAS\s++(?:(?:NOT\s++)?MATERIALIZED\s*+)?\(", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Summary:
    """What an SQL text does.

    Attributes:
        text: operations and targets in order; empty when there is nothing to tell.
        operation: what the statement starts with, as written, or "" when the text holds statements of several kinds.
        collection: the table, when the text touches exactly one, else "".
    """

    text: str
    operation: str
    collection: str


@dataclass(slots=True)
class _Scan:
    parts: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    # one entry per open parenthesis: whether FROM in it opens a table list (it does not in EXTRACT(day FROM x))
    levels: list[bool] = field(default_factory=lambda: [False])
    statement_starts: bool = True
    unnamed: bool = True
    of_collections: bool = True
    expects_target: bool = False
    in_list: bool = False
    previous: str = ""


def summarize(text: str) -> Summary:
    """The summary of one SQL text.

    Args:
        text: sanitised already, so that no literal can look like a name.
    """
    scan = _Scan()
    hidden = frozenset(m.group(1) for m in _CTE().finditer(text)) if text[:5].upper() == "WITH " else frozenset()
    for match in _TOKEN().finditer(text):
        if match.lastgroup == "mark":
            _mark(scan, match.group())
        elif match.lastgroup == "name":
            _name(scan, match.group(), hidden)
        else:
            scan.expects_target = False
    operation = scan.statements[0] if len(set(map(str.upper, scan.statements))) == 1 else ""
    collection = scan.targets[0] if len(set(scan.targets)) == 1 else ""
    return Summary(_joined(scan.parts), operation, collection)


def _mark(scan: _Scan, mark: str) -> None:
    if mark == "(":
        scan.levels.append(False)
        scan.expects_target = scan.in_list = False
    elif mark == ")":
        if len(scan.levels) > 1:
            scan.levels.pop()
        # behind a closed subquery the table list of the level above may go on
        scan.in_list = scan.levels[-1]
    elif mark == ",":
        scan.expects_target = scan.in_list
    else:
        scan.levels = [False]
        scan.statement_starts = scan.unnamed = True
        scan.expects_target = scan.in_list = False


def _name(scan: _Scan, name: str, hidden: frozenset[str]) -> None:
    word = name.upper()
    starts, scan.statement_starts = scan.statement_starts, False
    previous, scan.previous = scan.previous, word
    continues = word in _DATA and previous not in _NOT_AN_OPERATION_AFTER and not scan.expects_target
    if continues or (starts and word != "WITH"):
        _operation(scan, name, word)
    elif word in _OPENS_TARGET:
        opens = (scan.levels[-1] or word == "INTO") and previous not in _NOT_OPENED_AFTER.get(word, ())
        scan.expects_target = scan.in_list = opens
    elif scan.expects_target and word in _NO_TARGET and previous in _OPERATIONS_ON_TARGET:
        scan.expects_target = False
    elif scan.expects_target and word not in _SKIPPED_BEFORE_TARGET:
        _target(scan, name, word, hidden)
    elif word in {"WHERE", "SET", "VALUES", "ON", "GROUP", "ORDER", "USING", "LIMIT", "RETURNING", "HAVING", "UNION"}:
        scan.in_list = False


def _operation(scan: _Scan, name: str, word: str) -> None:
    scan.parts.append(name)
    # in `WITH x AS (SELECT ...) DELETE ...` the operation is the DELETE
    if scan.unnamed and len(scan.levels) == 1:
        scan.statements.append(name)
        scan.unnamed = False
    scan.of_collections = word not in _PROCEDURE and (word not in _DEFINITION or word == "TRUNCATE")
    scan.levels[-1] = scan.levels[-1] or word in {"SELECT", "DELETE"}
    scan.expects_target = word in _DEFINITION or word in _PROCEDURE or word in _OPERATIONS_ON_TARGET
    scan.in_list = False


def _target(scan: _Scan, name: str, word: str, hidden: frozenset[str]) -> None:
    if word in _OBJECTS:
        scan.parts.append(name)
        scan.of_collections = word in _COLLECTIONS
        return
    scan.expects_target = False
    if name in hidden:
        return
    scan.parts.append(name)
    if scan.of_collections:
        scan.targets.append(name)


def _joined(parts: list[str]) -> str:
    length = -1
    kept: list[str] = []
    for part in parts:
        length += len(part) + 1
        if length > MAX_SUMMARY:
            break
        kept.append(part)
    return " ".join(kept)
