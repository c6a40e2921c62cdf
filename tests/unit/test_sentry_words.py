"""Messages without values: what stays tells what happened, what goes may tell of whom."""

from __future__ import annotations

import time

import pytest

from otel_distro.sentry.words import without_literals, without_messages, words


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no such user", "no such user"),
        ("invalid literal for int() with base 10: '4x'", "invalid literal for int() with base ?: '?'"),
        ("connection to db-1.internal:5432 refused", "connection to ?:? refused"),
        ("user ada@example.com is locked", "user ? is locked"),
        ("can't open the file", "can't open the file"),
        ("ValueError: bad", "ValueError: bad"),
        ("sqlalchemy.exc.OperationalError happened", "sqlalchemy.exc.OperationalError happened"),
        ("HTTP 503 from https://h/p?token=abc", "HTTP ? from ?"),
        ('"quoted" and `also`', '"?" and `?`'),
        ("canary-71c3f0", "?"),
        ("it's 'don't'", "it's '?'"),
        ("", ""),
        ("SECRETVALUE", "?"),
        ("wrong password: canary for joe", "wrong password: ? for joe"),
    ],
)
def test_words_stay_and_values_go(text: str, left: str) -> None:
    """Plain words and names of exceptions stay; numbers, identifiers, addresses and quoted parts do not."""
    assert words(text) == left


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ('raise ValueError("canary-1")', 'raise ValueError("?")'),
        ("value = 'plain words' + \"x1\"", "value = 'plain words' + \"?\""),
        ("x = 1  # don't", "x = 1  # don't"),
        ('"""text with secret-1', '"""text with ?'),
    ],
)
def test_source_code_keeps_its_code(line: str, left: str) -> None:
    """Lines of source code stay as they are but for the values in their string literals."""
    assert without_literals(line) == left


def test_stack_traces_in_a_message_keep_the_words_of_their_exceptions() -> None:
    """Places and types stay, of a group's parts as well; what stands before a stack trace is the application's own."""
    text = """user 5 failed
Traceback (most recent call last):
  File "/a-1.py", line 3, in f
    raise Refused("no canary-1")
shop.Refused: no canary-1
  and canary-2

During handling of the above exception, another exception occurred:

  + Exception Group Traceback (most recent call last):
  |   File "/b-2.py", line 4, in g
  |     fail('canary-3')
  | ExceptionGroup: many (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: canary-4 is bad
    +------------------------------------
"""
    shown = without_messages(text)
    assert "canary" not in shown
    kept = (
        "user 5 failed",
        '  File "/a-1.py", line 3, in f',
        "shop.Refused: no ?",
        '  |   File "/b-2.py", line 4, in g',
        "    | ValueError: ? is bad",
        "During handling of the above exception, another exception occurred:",
    )
    assert not set(kept) - set(shown.split("\n"))


def test_long_messages_take_no_time() -> None:
    """Hostile text costs time in proportion to its length at most."""
    began = time.process_time()
    for text in ("'" * 100_000, "a'" * 50_000, '"""' * 30_000, "\\" * 100_000 + "'", "x=" * 50_000):
        words(text)
        without_literals(text[:5_000])
    assert time.process_time() - began < 5
