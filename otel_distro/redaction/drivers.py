"""Messages of databases and their drivers without the values that they quote: rows, keys, arguments, statements.

PostgreSQL shows the row that breaks a constraint and the line of the statement, MySQL the key that is there already,
asyncpg the argument, redis-py the command of a pipeline. Names of tables, columns and constraints stay.
"""

from __future__ import annotations

import re

from otel_distro.patterns import late

from .policy import PLACEHOLDER

_LINE = r"(?:\n|\\n)[ |]{0,80}"
"""The beginning of a line, also in a text that was quoted and within a group of exceptions."""
_QUOTE = r"\\{0,8}'"
_END = rf"{_QUOTE}(?:\\{{0,8}}\"\)|$)"
"""The quote that closes a value behind which nothing comes but the end of the message, or of a driver's tuple."""

# a value may have whatever ends a text elsewhere: where its end is not found, all that follows goes, so nothing is
# searched twice
_TOLD = (
    (
        "row contains (",
        late(r"(row contains )\(.*?(?:\)\.(?=\s{0,4}\Z|\n(?:\n|\[|\(B|[A-Z]+: | )|\\n|[\"'])|\Z)", re.DOTALL),
        rf"\1({PLACEHOLDER}).",
    ),
    ("LINE ", late(rf"({_LINE}LINE \d{{1,9}}: )[^\n]+"), rf"\1{PLACEHOLDER}"),
    ("CONTEXT: ", late(rf"({_LINE}CONTEXT:  (?:JSON data|COPY)[^:\n]{{1,200}}: )[^\n]+"), rf"\1{PLACEHOLDER}"),
    ("Token ", late(r"(DETAIL:  Token )\"[^\n]*\"(?= is invalid)"), rf'\1"{PLACEHOLDER}"'),
    (
        ': "',
        late(
            r"((?:invalid input (?:syntax for type|value for enum) [^:\n]{1,80}|malformed \w{1,20} literal"
            r"|field value out of range): )\"[^\n]*(?:\"|$)",
            re.MULTILINE,
        ),
        rf'\1"{PLACEHOLDER}"',
    ),
    ("out of range for", late(r"(\bvalue )\"[^\"\n]*\"(?= is out of range for)"), rf'\1"{PLACEHOLDER}"'),
    # what `redact_exception` leaves of it
    ("Key (", late(r"(Key \([^)\n]{0,200}\)=\()(?!\?\))[^\n]+"), rf"\1{PLACEHOLDER})"),
    ("query argument $", late(r"(query argument \$\d{1,5}: )[^\n]+"), rf"\1{PLACEHOLDER}"),
    (
        "uplicate entry ",
        late(rf"(uplicate entry {_QUOTE})(?:(?!{_QUOTE} for key)[^\n])*"),
        rf"\1{PLACEHOLDER}",
    ),
    (
        " value: ",
        late(
            rf"((?:ncorrect|runcated incorrect) [\w ]{{0,40}}value: {_QUOTE})(?:(?!{_QUOTE} for |{_QUOTE}[\")])[^\n])*"
        ),
        rf"\1{PLACEHOLDER}",
    ),
    # an expression with its operands, of which a text may hold the quote that ends it, as what XPATH shows may
    (
        "is out of range in ",
        late(rf"(is out of range in {_QUOTE})[^\n]+?(?={_END}|$)", re.MULTILINE),
        rf"\1{PLACEHOLDER}",
    ),
    (
        "XPATH syntax error: ",
        late(rf"(XPATH syntax error: {_QUOTE}).*?(?={_END}|\Z)", re.DOTALL | re.MULTILINE),
        rf"\1{PLACEHOLDER}",
    ),
    ("no partition for value ", late(r"(no partition for value )-?\d+"), rf"\1{PLACEHOLDER}"),
    (
        " character string: ",
        late(rf"(Invalid \w{{1,20}} character string: {_QUOTE})[^'\n]*"),
        rf"\1{PLACEHOLDER}",
    ),
    (
        "Cannot convert string ",
        late(rf"(Cannot convert string {_QUOTE})(?:(?!{_QUOTE} from )[^\n])*"),
        rf"\1{PLACEHOLDER}",
    ),
    (
        "Could not process parameters: ",
        late(r"(Could not process parameters: \w{1,40}).*?(?=, it must be of type|\Z)", re.DOTALL),
        rf"\1({PLACEHOLDER})",
    ),
    (
        "right syntax to use near ",
        late(r"(right syntax to use near ).*?(?= at line \d|\Z)", re.DOTALL),
        rf"\1{PLACEHOLDER}",
    ),
    ("duplicate key value is ", late(r"(duplicate key value is )\((?:(?!\)\.)[^\n])*"), rf"\1({PLACEHOLDER}"),
    (
        " of pipeline caused",
        late(r"(Command # \d{1,9} \((?:[A-Z][A-Z.]{0,31} )?).*?(?:(?=\) of pipeline caused)|\Z)", re.DOTALL),
        rf"\1{PLACEHOLDER}",
    ),
    ("args beginning with: ", late(r"(args beginning with: )[^\n]+"), rf"\1{PLACEHOLDER}"),
    ("SETUSER modifier ", late(r"(ACL SETUSER modifier ')(?:(?!': )[^\n])*"), rf"\1{PLACEHOLDER}"),
)
"""What a text has in it that quotes a value, what finds that, and what stands there instead."""


def without_values(text: str) -> str:
    """A message, or a stack trace, without what databases and drivers quote of their statements' values."""
    for mark, quoting, shown in _TOLD:
        if mark in text:
            text = quoting().sub(shown, text)
    return text


__all__ = ["without_values"]
