"""Messages of databases and drivers, as PostgreSQL, MySQL, SQL Server, Redis and their drivers write them."""

from __future__ import annotations

import pytest

from otel_distro.logs.exceptions import structured
from otel_distro.redaction import redact_error, redact_message
from otel_distro.tracing.records import exception_attributes

ROW = 'null value in column "email" of relation "users" violates not-null constraint\nDETAIL:  Failing row contains '
SYNTAX = "You have an error in your SQL syntax; check the manual for the right syntax to use near "

WRONG, OUT = "Incorrect datetime value: ", "value is out of range in "

MESSAGES = [
    (f"{ROW}(3, canary7 (x), {{'a': ')'}}, null).", f"{ROW}(?)."),
    (f"{ROW}(3, can).ary7, canary7).\nCONTEXT:  SQL", f"{ROW}(?).\nCONTEXT:  SQL"),
    (f"{ROW}(3, canary7", f"{ROW}(?)."),
    (
        "invalid input syntax for type integer: \"canary7\"\nLINE 1: SELECT 'canary7'\n               ^",
        'invalid input syntax for type integer: "?"\nLINE 1: ?\n               ^',
    ),
    ('malformed array literal: "{canary7"\nDETAIL:  Unexpected', 'malformed array literal: "?"\nDETAIL:  Unexpected'),
    (
        'type json\nDETAIL:  Token "canary7" is invalid.\nCONTEXT:  JSON data, line 1: {"canary7',
        'type json\nDETAIL:  Token "?" is invalid.\nCONTEXT:  JSON data, line 1: ?',
    ),
    (
        "violates exclusion\nDETAIL:  Key (c)=([1,canary7)) conflicts with existing key (c)=([0,canary7)).",
        "violates exclusion\nDETAIL:  Key (c)=(?)",
    ),
    (
        "invalid input for query argument $1: 'canary7' (invalid UUID 'canary7': length must be 32)",
        "invalid input for query argument $1: ?",
    ),
    (
        "insert failed: (1062, \"Duplicate entry 'o'canary7' for key 'users.email'\")",
        "insert failed: (1062, \"Duplicate entry '?' for key 'users.email'\")",
    ),
    (
        "Command # 2 (LPUSH k canary7)) of pipeline caused error: WRONGTYPE",
        "Command # 2 (LPUSH ?) of pipeline caused error: WRONGTYPE",
    ),
    (
        "failed: Violation of UNIQUE KEY constraint. The duplicate key value is (canary7, (x)). (2627)",
        "failed: Violation of UNIQUE KEY constraint. The duplicate key value is (?). (2627)",
    ),
    # asyncmy logs the server's warnings, aiomysql and PyMySQL warn with them
    ("Incorrect datetime value: 'canary7' for function str_to_date", f"{WRONG}'?' for function str_to_date"),
    (
        "(1292, \"Truncated incorrect DOUBLE value: 'canary7'\")",
        "(1292, \"Truncated incorrect DOUBLE value: '?'\")",
    ),
    (
        "(1366, \"Incorrect integer value: 'canary7' for column 'age' at row 1\")",
        "(1366, \"Incorrect integer value: '?' for column 'age' at row 1\")",
    ),
]
OF_EXCEPTIONS = [
    ('date/time field value out of range: "canary7"', 'date/time field value out of range: "?"'),
    ('value "canary7" is out of range for type integer', 'value "?" is out of range for type integer'),
    (
        "(1690, \"BIGINT value is out of range in '(4 + 'canary7' * 2)'\")",
        "(1690, \"BIGINT value is out of range in '?'\")",
    ),
    (f"1690 (22003): DOUBLE {OUT}'exp('canary7')'\nThe above", f"1690 (22003): DOUBLE {OUT}'?'\nThe above"),
    ("(1105, \"XPATH syntax error: '~can'a\\ncanary7'\")", "(1105, \"XPATH syntax error: '?'\")"),
    ("1105 (HY000): XPATH syntax error: '~c\ncanary7'\n\nThe", "1105 (HY000): XPATH syntax error: '?'\n\nThe"),
    ("(1526, 'Table has no partition for value -7')", "(1526, 'Table has no partition for value ?')"),
    ("(1300, \"Invalid utf8mb4 character string: 'FFcanary7'\")", "(1300, \"Invalid utf8mb4 character string: '?'\")"),
    (
        "(3854, \"Cannot convert string 'can'ary7, canary7' from binary to utf8mb4\")",
        "(3854, \"Cannot convert string '?' from binary to utf8mb4\")",
    ),
    (
        "Could not process parameters: str(c, canary7), it must be of type list, tuple or dict",
        "Could not process parameters: str(?), it must be of type list, tuple or dict",
    ),
    (f"(1064, \"{SYNTAX}'canary7\n')' at line 1\")", f'(1064, "{SYNTAX}? at line 1")'),
    ("unknown command 'X', with args beginning with: 'canary7'", "unknown command 'X', with args beginning with: ?"),
    ("Error in ACL SETUSER modifier 'canary7': Syntax", "Error in ACL SETUSER modifier '?': Syntax"),
]


@pytest.mark.parametrize(("text", "expected"), [*MESSAGES, *OF_EXCEPTIONS])
def test_an_exception_tells_no_value_of_a_statement(text: str, expected: str) -> None:
    """Rows, keys, arguments and statements that a database quotes do not leave; names of what they break do."""
    assert redact_error(text) == expected
    error = RuntimeError(text)
    error.add_note(text)
    assert "canary7" not in str(exception_attributes(error, escaped=False))
    assert "canary7" not in str(structured(error))


@pytest.mark.parametrize(("text", "expected"), MESSAGES)
def test_neither_does_a_log_message_about_it(text: str, expected: str) -> None:
    """`logger.error("insert failed: %s", error)` is as common as a stack trace."""
    assert redact_message(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        'relation "users" does not exist',
        "ONLINE 1: all\nLINE 7 is busy",
        "Duplicate entry for key x",
        "the pipeline caused no error",
        "value: 7 of input 8",
    ],
)
def test_what_quotes_nothing_stays(text: str) -> None:
    """Words that such messages have hide nothing by themselves."""
    assert redact_error(text) == redact_message(text) == text


@pytest.mark.parametrize(
    "unit",
    ["row contains (", "row contains ().", "\nLINE 1: ", "Command # 1 (", "Command # 1 (SET ) of pipeline caused",
     "query argument $1: ", "uplicate entry '", "ncorrect x value: '", "right syntax to use near ", 'value "',
     "duplicate key value is (", "is out of range in 'x", "XPATH syntax error: '", "Could not process parameters: x",
     "Cannot convert string 'x", "Invalid x character string: '",
     "Key ()=(", ': "', "\nCONTEXT:  COPY", "invalid input syntax for type "],
)  # fmt: skip
def test_such_a_message_is_searched_once(unit: str) -> None:
    """A stranger's text that repeats the words of a database takes time that grows with its length only."""
    marks = ' of pipeline caused, row contains (, LINE , CONTEXT: , : ", out of range for, uplicate entry , value: '
    text = unit * (400_000 // len(unit)) + marks
    assert len(redact_error(text)) <= 2 * len(text)
