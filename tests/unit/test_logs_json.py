"""A record as a line of JSON: every field, bounded, redacted, and whatever the application put in, a line comes out."""

from __future__ import annotations

import datetime
import enum
import json
import logging
import uuid
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any, NoReturn

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from otel_distro.context import RequestScope, close_scope, open_scope, set_context, set_user
from otel_distro.errors import note
from otel_distro.logs.correlation import Correlation
from otel_distro.logs.json_lines import JsonLines
from otel_distro.logs.values import plain

SPAN = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))


def record(msg: Any = "hello", *args: Any, exc: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    told = None if exc is None else (type(exc), exc, exc.__traceback__)
    return logging.getLogger("shop.orders").makeRecord("shop.orders", 20, "/a.py", 3, msg, args, told, "f", extra)


def line(made: logging.LogRecord, **options: Any) -> dict[str, Any]:
    Correlation("shop", contextual=True).put_on(made)
    text = JsonLines(service="shop", version="1.2", environment="prod", **options).format(made)
    assert "\n" not in text
    assert text.isascii()
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_line_has_time_level_logger_message_and_service() -> None:
    """The fixed fields are there under fixed names, the time in UTC with microseconds."""
    made = record("charged %.2f", 9.5)
    made.created = 1_700_000_000.25
    assert line(made) == {
        "time": "2023-11-14T22:13:20.250000Z",
        "level": "INFO",
        "logger": "shop.orders",
        "message": "charged 9.50",
        "service": "shop",
        "version": "1.2",
        "environment": "prod",
    }


def test_time_is_the_records_own_also_when_seconds_go_back() -> None:
    """Lines of other seconds, in any order, have their own time."""
    formats = JsonLines(service="shop")
    for created, shown in ((10.5, "00:00:10.500000Z"), (11.0, "00:00:11.000000Z"), (10.25, "00:00:10.250000Z")):
        made = record()
        made.created = created
        assert json.loads(formats.format(made))["time"] == f"1970-01-01T{shown}"


def test_a_line_has_the_ids_of_span_and_request_and_what_the_application_said() -> None:
    """Trace, span, request, user, tenant and any other value of the context are on every line of the request."""
    scope = RequestScope("req-7")
    open_scope(scope)
    try:
        set_user("u1", name="Ada")
        set_context(tenant="acme", plan="gold")
        with use_span(NonRecordingSpan(SPAN)):
            found = line(record(order=5))
    finally:
        close_scope(scope)
    assert found["trace_id"] == f"{0xABC:032x}"
    assert found["span_id"] == f"{0xDEF:016x}"
    told = {key: found[key] for key in ("request_id", "user", "user.name", "tenant", "plan", "order")}
    assert told == {
        "request_id": "req-7",
        "user": "u1",
        "user.name": "Ada",
        "tenant": "acme",
        "plan": "gold",
        "order": 5,
    }


def test_ids_are_those_of_the_moment_of_logging() -> None:
    """A record that is formatted later, elsewhere, keeps the ids of the code that made it."""
    made = record()
    with use_span(NonRecordingSpan(SPAN)):
        Correlation("shop", contextual=True).put_on(made)
    assert json.loads(JsonLines(service="shop").format(made))["trace_id"] == f"{0xABC:032x}"


def test_an_exception_that_left_its_request_still_tells_which_it_was() -> None:
    """The server logs an exception when the request's context is gone; its line has the request's ids."""
    error = ValueError("x")
    note(error, SPAN, None)
    assert line(record("failed", exc=error))["trace_id"] == f"{0xABC:032x}"


def test_an_extra_cannot_take_the_place_of_a_fixed_field() -> None:
    """Time, level, message and ids are the record's; an extra of such a name gets a prefix."""
    found = line(record("real", level="fake", trace_id="fake", service="fake"))
    assert (found["message"], found["level"], found["service"]) == ("real", "INFO", "shop")
    assert (found["extra.level"], found["extra.trace_id"], found["extra.service"]) == ("fake", "fake", "fake")
    # what marks a line as sent lets a collector drop it
    found = line(record(otlp=True, stack="own"))
    assert (found["extra.otlp"], found["extra.stack"], "otlp" in found) == (True, "own", False)


def test_an_extra_says_better_who_the_user_is() -> None:
    """A `user` in `extra` wins over the request's, and there is one key of that name."""
    scope = RequestScope("r")
    open_scope(scope)
    try:
        set_user("u1")
        made = record(user="other", level="fake")
        Correlation("shop", contextual=True).put_on(made)
    finally:
        close_scope(scope)
    pairs = json.loads(JsonLines(service="shop").format(made), object_pairs_hook=list)
    assert [value for key, value in pairs if key == "user"] == ["other"]
    keys = [key for key, _ in pairs]
    assert sorted(keys) == sorted({*keys})


def test_arguments_that_do_not_fit_their_format_are_a_line() -> None:
    """`logging.info("%d", "x")` gives format, arguments and reason, and raises nothing."""
    assert line(record("%d apples", "x"))["message"] == "%d apples ['x'] (TypeError in formatting)"


class Hostile:
    """Everything a serialiser might ask raises, and says so loudly."""

    def __repr__(self, *_: Any) -> NoReturn:
        raise AssertionError("it was called")

    __str__ = __len__ = __iter__ = __getattr__ = keys = __repr__


class Endless:
    """Its text never ends."""

    def __repr__(self) -> NoReturn:
        while True:
            pass

    __str__ = __repr__


class Sneaky(dict[str, Any]):
    """A mapping whose methods lie."""

    def items(self) -> NoReturn:
        raise AssertionError("items was called")

    keys = __iter__ = items  # type: ignore[assignment]


class Word(str):
    def __str__(self) -> NoReturn:
        raise AssertionError("str was called")


class Colour(enum.Enum):
    RED = "r"


Point = namedtuple("Point", "x y")  # noqa: PYI024 - the untyped form is what applications log


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Hostile(), "<HERE.Hostile>"),
        (Endless(), "<HERE.Endless>"),
        (Sneaky(a=1), {"a": 1}),
        (Word("w"), "w"),
        (Colour.RED, "r"),
        (Point(1, 2), [1, 2]),
        (OrderedDict(a=Hostile()), {"a": "<HERE.Hostile>"}),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (10**5000, f"<int of {(10**5000).bit_length()} bits>"),
        (b"\xff\x00", "\ufffd\x00"),
        ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "None": "b", "<tuple>": "c"}),
        ({"x"}, ["x"]),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "2026-01-02 00:00:00+00:00"),
        (uuid.UUID(int=5), str(uuid.UUID(int=5))),
        (Path("/a/b"), "/a/b"),
        (ValueError("no", 3), "ValueError: no: 3"),
        ("\ud800 lone", "\ufffd lone"),
        (type, "<type>"),
        (len, "<builtin_function_or_method>"),
        (True, True),
        (None, None),
    ],
    ids=range(22),
)
def test_no_value_of_extra_runs_code_of_the_applications(value: Any, shown: Any) -> None:
    """What cannot be serialised is shown by its type; nothing of it is called, so nothing can raise or hang."""
    found = line(record(thing=value))["thing"]
    # nothing of a failing test may be asked for its repr
    assert json.dumps(found) == json.dumps(shown).replace("HERE", __name__)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("name\udcff", "name\ufffd"),
        ("\U0001f600\udc00\ud83d", "\U0001f600\ufffd\ufffd"),
        ("\\ud800 \\\ud800 \\\\ud83d\\ude00", "\\ud800 \\\ufffd \\\\ud83d\\ude00"),
    ],
)
def test_half_a_character_is_replaced_and_what_only_looks_like_it_stays(text: str, shown: str) -> None:
    """Strict parsers refuse a line with half a surrogate pair; a backslash in front of `ud800` is a text."""
    found = line(record(text, thing=text, things={text: [text]}))
    assert (found["message"], found["thing"], found["things"]) == (shown, shown, {shown: [shown]})


def test_a_record_of_the_applications_class_says_what_its_message_is() -> None:
    """`setLogRecordFactory` may bring another style of formatting; one that raises costs the message's values only."""

    class Braces(logging.LogRecord):
        def getMessage(self) -> str:  # noqa: N802 - the name of the base class
            return str(self.msg).format(*self.args or ())

    def message(*given: Any) -> str:
        made = line(Braces("shop", 20, "/a.py", 3, given[0], given[1:], None))
        return str(made["message"])

    assert message("{} of {}", 1, 2) == "1 of 2"
    assert message("{} of {}", 1) == "{} of {} [1] (IndexError in formatting)"


def test_nesting_length_and_breadth_are_bounded() -> None:
    """Cycles, endless nesting, long lists and long texts end where the bound is."""
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    broad = {"k": [[list(range(100))] * 100] * 100}
    made = record("m" * 1_000_000, cycle=cycle, deep=deep, broad=broad, long="x" * 1_000_000)
    text = JsonLines(service="shop").format(made)
    assert len(text) < 60_000
    assert json.loads(text)["long"].endswith("…")


def test_names_of_fields_may_be_anything() -> None:
    """A name that is no text is left out, and one that is private, too."""
    made = record()
    made.__dict__.update({5: "five", None: "none", "_own": "o", "kept": 1})  # type: ignore[dict-item]
    found = line(made)
    assert found["kept"] == 1
    assert "five" not in str(found)


def test_many_extras_are_bounded() -> None:
    """Ten thousand fields do not make an endless line."""
    made = record()
    made.__dict__.update({f"k{number}": number for number in range(10_000)})
    assert len(JsonLines(service="shop").format(made)) < 5_000


def test_an_exception_is_type_message_frames_and_causes() -> None:
    """The stack is a list of places, the innermost last; what caused it is told too."""

    def inner() -> None:
        raise KeyError("inside")

    try:
        try:
            inner()
        except KeyError as error:
            raise RuntimeError("outside") from error
    except RuntimeError as error:
        caught = error
    found = line(record("failed", exc=caught))["exception"]
    assert (found["type"], found["message"]) == ("RuntimeError", "outside")
    assert found["cause"]["type"] == "KeyError"
    last = found["cause"]["frames"][-1]
    assert last["function"].endswith("inner")
    assert last["file"] == __file__
    assert isinstance(last["line"], int)


def test_recursion_and_exception_groups_are_bounded() -> None:
    """A thousand frames are fifty and a count; of a large group the first ten are told."""

    def deeper(level: int) -> None:
        if level:
            deeper(level - 1)
        raise ExceptionGroup("many", [ValueError(str(number)) for number in range(100)])

    try:
        deeper(200)
    except ExceptionGroup as error:
        found = line(record(exc=error))["exception"]
    assert len(found["frames"]) == 50
    assert found["frames_left_out"] == 152
    assert len(found["exceptions"]) == 10


def test_nested_groups_are_bounded_altogether() -> None:
    """Groups of groups tell fifty exceptions beside the first, not ten to the power of their depth."""
    error: Exception = ValueError("leaf")
    for _ in range(5):
        error = ExceptionGroup("many", [error] * 10)
    assert json.dumps(line(record(exc=error))).count('"type"') == 51


class Unprintable(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")


def test_what_is_no_exception_is_none() -> None:
    """An `exc_info` of anything else is a line with its ids, and no exception."""
    made = record()
    made.exc_info = (1, 2, 3)  # type: ignore[assignment]
    assert "exception" not in line(made)
    assert "otelTraceID" in vars(made)


class Unreadable(Exception):
    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


def test_an_exception_whose_attributes_raise_is_a_whole_line() -> None:
    """Type, message and frames are told, and the request that it left."""

    def fail() -> NoReturn:
        raise Unreadable("odd")

    try:
        fail()
    except Unreadable as error:
        note(error, SPAN, None)
        found = line(record(exc=error))
    assert (found["exception"]["message"], len(found["exception"]["frames"])) == ("odd", 2)
    assert found["trace_id"] == f"{SPAN.trace_id:032x}"


def test_an_exception_that_has_no_text_is_a_line() -> None:
    """An exception whose `str` raises is told by its type."""
    assert line(record(exc=Unprintable()))["exception"]["type"].endswith("Unprintable")


def test_a_prepared_record_keeps_its_stack_as_text() -> None:
    """A record that came through another process has only the stack's text."""
    made = record()
    made.exc_text = "Traceback\nboom"
    assert line(made)["exception"] == {"stacktrace": "Traceback\nboom"}


def test_a_message_that_is_a_dict_is_its_fields() -> None:
    """`log.info({"event": ..., ...})` gives the event as the message and the rest as fields."""
    found = line(record({"event": "paid", "amount": 3, "level": "x", "_private": 1}))
    assert (found["message"], found["amount"], found["extra.level"]) == ("paid", 3, "x")
    assert "_private" not in found


def test_a_record_of_an_unusual_class_loses_no_field() -> None:
    """A record factory that sets attributes before `logging` does is read as well."""

    class Unusual(logging.LogRecord):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.before = "b"
            super().__init__(*args, **kwargs)

    made = Unusual("n", 20, "", 0, "m", (), None)
    made.after = "a"  # type: ignore[attr-defined]
    found = line(made)
    assert (found["before"], found["after"]) == ("b", "a")


CANARY = "c4n4ry-v4lu3"


@pytest.mark.parametrize(
    "made",
    [
        record(f"password={CANARY}"),
        record("connecting to postgresql://joe:%s@db/x", CANARY),
        record("GET /a?access_token=%s&x=1", CANARY),
        record("headers %s", {"Authorization": f"Bearer {CANARY}"}),
        record("Cookie: sid=%s; theme=dark", CANARY),
        record(f"sent Authorization: Basic {CANARY}"),
        record(password=CANARY),
        record(api_key=CANARY, n=1),
        record(request={"headers": {"x-api-key": CANARY, "cookie": [CANARY]}}),
        record(urls=[f"https://joe:{CANARY}@h/"]),
        record({"event": "login", "secret": CANARY}),
        record(exc=ValueError(f"token={CANARY}")),
        record(exc=RuntimeError(f"(x) boom\n[SQL: INSERT INTO t VALUES ('{CANARY}')]\n[parameters: ('{CANARY}',)]")),
        record("%d", f"password={CANARY}"),
        record(command=["pg_dump", "--password", CANARY], rest=("--token", CANARY, "x")),
        record({"message": "run", "command": ["pg_dump", "--password", CANARY]}),
        record(headers=[(b"x-api-key", CANARY.encode()), ("authorization", CANARY)]),
    ],
    ids=lambda made: str(made.msg)[:20],
)
def test_a_secret_is_on_no_line(made: logging.LogRecord) -> None:
    """Whatever way a credential comes into a record, it does not leave with the line."""
    assert CANARY not in json.dumps(line(made))


def test_lines_are_marked_when_their_record_is_sent_too() -> None:
    """A collector that reads lines and OTLP can drop the lines whose record it gets; what is not sent has no mark."""
    assert line(record(), sent=20)["otlp"] is True
    assert "otlp" not in line(record(), sent=30)
    assert "otlp" not in line(record())
    own = logging.LogRecord("otel_distro", 40, "", 0, "m", (), None)
    assert "otlp" not in line(own, sent=0)


def _numpys(name: str, number: object) -> object:
    """What `type`, and `item()`, tell of a number of NumPy, which is not installed here."""
    kind = type(name, (), {"__module__": "numpy", "__qualname__": name, "item": lambda _: number})
    return kind()


@pytest.mark.parametrize(("name", "number"), [("int64", 5), ("float32", 0.5), ("bool", True), ("bool_", False)])
def test_a_number_of_numpy_is_a_number(name: str, number: object) -> None:
    """A count of a data frame, a mean of single precision: no subclass of Python's numbers, and yet one of them."""
    shown = plain({"n": _numpys(name, number), "l": [_numpys(name, number)]})
    assert shown == {"n": number, "l": [number]}
    assert type(shown["n"]) is type(number)
    assert plain(_numpys("float32", float("nan"))) == "nan"


def test_plain_data_stays_what_it_is() -> None:
    """Numbers, texts, lists and dicts arrive as they are."""
    value = {"a": [1, 2.5, True, None, "x"], "b": {"c": []}}
    assert plain(value) == value
