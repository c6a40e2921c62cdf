"""Stack traces: the same text as Python's, for less."""

from __future__ import annotations

import gc
import linecache
import sys
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from otel_distro.stacks import formatted


def plain() -> None:
    """One exception."""
    raise ValueError("wrong")


def cause() -> None:
    """An exception with a cause that has a cause."""
    try:
        try:
            plain()
        except ValueError as first:
            raise KeyError("second") from first
    except KeyError as second:
        raise RuntimeError("third") from second


def context() -> None:
    """One that hides another."""
    try:
        plain()
    except ValueError:
        raise KeyError("instead") from None


def during() -> None:
    """The same, not suppressed."""
    try:
        plain()
    except ValueError:
        {"here": 1}["missing"]


def group() -> None:
    """A group within a group, each with causes."""
    parts: list[BaseException] = []
    for raising in (plain, cause, during):
        try:
            raising()
        except Exception as error:
            parts.append(error)
    inner = caught(lambda: _raise(BaseExceptionGroup("inner", parts)))
    raise BaseExceptionGroup("outer", [inner, OSError("never raised")]) from parts[0]


def _raise(error: BaseException) -> None:
    raise error


def notes() -> None:
    """One with notes."""
    error = ValueError("wrong")
    error.add_note("a note\nof two lines")
    error.add_note("another")
    raise error


def recursive(depth: int = 0) -> None:
    """The same line again and again."""
    if depth == 30:
        raise RecursionError("deep")
    recursive(depth + 1)


def three(depth: int = 0) -> None:
    """As often as Python shows each line."""
    if depth == 2:
        raise ValueError("not deep")
    three(depth + 1)


def both(depth: int = 0) -> None:
    """Two lines by turns."""

    def further() -> None:
        both(depth + 1)

    if depth == 20:
        raise ValueError("by turns")
    further()


def syntax() -> None:
    """A text that is no Python."""
    compile("a = (1,\nb = 2", "no such file.py", "exec")


def name() -> None:
    """A name that is nearly another."""
    valuable = 1
    print(valuabel)  # type: ignore[name-defined]  # noqa: F821
    del valuable


def attribute() -> None:
    """An attribute that is nearly another."""
    "text".spilt()  # type: ignore[attr-defined]


def imported() -> None:
    """A name that a module has nearly."""
    from collections import OrderedDic  # type: ignore[attr-defined]  # noqa: F401


def wide() -> None:
    """Characters that are as wide as two."""
    sizes = {"一": 1}
    print(sizes["一"] + sizes["二"] + sizes["一"])


def lines() -> None:
    """An expression of several lines."""
    print(
        1
        + int("1")
        + int(
            "two"
        )
    )  # fmt: skip


def sourceless() -> None:
    """Code that no file has."""
    exec("def f():\n  raise ValueError('no source')\nf()", {})  # noqa: S102


class Broken(Exception):
    """One that has no text."""

    def __str__(self) -> str:
        raise TypeError("no text")


def broken() -> None:
    """One that cannot be shown."""
    raise Broken


def loop() -> None:
    """An exception that is its own cause's cause."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    raise one


ALL = [
    plain, cause, context, during, group, notes, recursive, three, both, syntax, name, attribute, imported, wide, lines,
    sourceless, broken, loop,
]  # fmt: skip


def caught(raising: Callable[[], Any]) -> BaseException:
    """What it raises."""
    try:
        raising()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def expected(error: BaseException) -> str:
    """Python's own."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("raising", ALL, ids=lambda raising: raising.__name__)
def test_the_text_is_pythons(raising: Callable[[], Any]) -> None:
    """The first time, and when every place is known."""
    error = caught(raising)
    for _ in range(3):
        assert formatted(error) == expected(error)


def test_an_exception_that_was_never_raised_has_no_frames() -> None:
    """Only its type and message."""
    assert formatted(ValueError("x")) == "ValueError: x\n" == expected(ValueError("x"))


def test_the_limit_of_the_interpreter_holds() -> None:
    """`sys.tracebacklimit` is the application's wish."""
    error = caught(cause)
    sys.tracebacklimit = 1
    try:
        assert formatted(error) == expected(error)
    finally:
        del sys.tracebacklimit


def test_equal_code_of_two_files_is_told_apart(tmp_path: Path) -> None:
    """Two functions that are equal to Python lie in two files."""
    text = "def f():\n    raise ValueError('a')\n"
    for name_ in ("one.py", "two.py"):
        path = tmp_path / name_
        path.write_text(text)
        known: dict[str, Any] = {}
        exec(compile(text, str(path), "exec"), known)  # noqa: S102
        error = caught(known["f"])
        assert str(path) in formatted(error)
        assert formatted(error) == expected(error)


def test_a_place_is_read_once(tmp_path: Path) -> None:
    """When the file is gone, what failed there before is shown as it was."""
    path = tmp_path / "gone.py"
    path.write_text("def f():\n    raise ValueError('a place')\n")
    known: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), known)  # noqa: S102
    first = formatted(caught(known["f"]))
    path.unlink()
    linecache.clearcache()
    assert formatted(caught(known["f"])) == first
    assert "raise ValueError('a place')" in first


def test_what_could_not_be_read_is_read_again(tmp_path: Path) -> None:
    """A file that is away for a moment, in a deployment or for want of descriptors, has its lines when it is back."""
    path, away = tmp_path / "away.py", tmp_path / "elsewhere"
    path.write_text("def f():\n    raise ValueError('here')\n")
    known: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), known)  # noqa: S102
    path.rename(away)
    assert "raise" not in formatted(caught(known["f"]))
    away.rename(path)
    assert "raise ValueError('here')" in formatted(caught(known["f"]))


@pytest.mark.parametrize("name_", ["<string>", "made.py"])
def test_code_is_not_kept(name_: str, tmp_path: Path) -> None:
    """A service that makes code and fails in it is no leak."""
    path = tmp_path / name_
    text = "def f():\n    raise ValueError('made')\n"
    if name_ == "made.py":
        path.write_text(text)
    known: dict[str, Any] = {}
    exec(compile(text, str(path), "exec"), known)  # noqa: S102
    made = weakref.ref(known["f"].__code__)
    assert "'made'" in formatted(caught(known["f"])) or name_ == "<string>"
    known.clear()
    linecache.clearcache()
    gc.collect()
    assert made() is None


def test_a_long_line_is_not_remembered(tmp_path: Path) -> None:
    """What is remembered is bounded, and the text is Python's in any case."""
    path = tmp_path / "long.py"
    path.write_text(f"def f():\n    raise ValueError('{'x' * 10_000}')\n")
    known: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), known)  # noqa: S102
    for _ in range(2):
        error = caught(known["f"])
        assert formatted(error) == expected(error)
    path.unlink()
    linecache.clearcache()
    error = caught(known["f"])
    assert formatted(error) == expected(error)
    assert "x" * 10_000 not in formatted(error).replace(str(error), "")


def test_nothing_of_a_frame_is_kept() -> None:
    """What the frames of a formatted exception hold can be freed."""

    class Held:
        """Something large."""

    def failing() -> None:
        held = Held()
        seen.append(weakref.ref(held))
        raise ValueError("held")

    seen: list[weakref.ref[Held]] = []
    for _ in range(2):
        formatted(caught(failing))
    gc.collect()
    assert [ref() for ref in seen] == [None, None]


@pytest.mark.parametrize("grouped", [False, True])
def test_what_varies_in_a_stack_is_shown_as_asked(grouped: bool) -> None:
    """Messages and notes of an exception and of its causes, in a group or not; places in the code stay."""

    def fail(error: Exception) -> NoReturn:
        raise error

    try:
        try:
            fail(ValueError("inner secret"))
        except ValueError as error:
            error.add_note("noted secret")
            fail(ExceptionGroup("outer secret", [RuntimeError("part")]) if grouped else KeyError("outer secret"))
    except (ExceptionGroup, KeyError) as error:
        shown = formatted(error, lambda text: text.replace("secret", "?"))
    assert [f"{word} ?" in shown for word in ("inner", "noted", "outer")] == [True] * 3
    assert 'fail(ValueError("inner secret"))' in shown
