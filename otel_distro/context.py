"""Who a request is for: its id, user, tenant and what else the application says, read by spans, logs and Sentry.

What is set lies in a scope, found by one context variable. The server path opens one for each request; elsewhere the
first `set_user` or `set_context` of a task or thread makes one. A scope is its owner's: a task or thread started
within it reads what is there and gets a scope of its own when it writes; the request takes only what nobody had said.
The one exception are the worker threads in which Starlette runs an application's synchronous functions: they work for
the request and write into it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar, Token
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NamedTuple

from .guard import let_through
from .spent import REPEATS, Spent

if TYPE_CHECKING:
    # an application may import this before the environment is repaired, so nothing of OpenTelemetry is imported here
    from opentelemetry.trace import Span

Value = str | int | float | bool

REQUEST_ID = "request.id"
"""The attribute of a request id that the caller gave; one of ours is the trace id, which every span has."""

_ATTRIBUTES = {"tenant": "tenant.id", "workspace": "workspace.id"}
_MOST_VALUES = 64
_LONGEST = 1_024
_NOT_OURS = (AttributeError, TypeError, ValueError, RuntimeError)
"""No scope, one that nobody has opened, one of another context, one that is opened no more."""
NOTHING: Mapping[str, Value] = {}
"""What is known where nothing was said: one mapping, so that it is recognised."""


class User(NamedTuple):
    """Who the application says it is working for.

    Attributes:
        id: stable and the application's own.
        name: the login or display name, where it was given.
        email: where it was given.
    """

    id: str
    name: str | None = None
    email: str | None = None


class Record(NamedTuple):
    """What was known at one moment; never changes, so it may be kept.

    Attributes:
        request_id: None outside a request.
        user: None as long as nobody has said.
        values: what `set_context` was given, by the application's own keys.
        attributes: all of it under the names it has on spans; not to be written to.
    """

    request_id: str | None = None
    user: User | None = None
    values: Mapping[str, Value] = NOTHING
    attributes: Mapping[str, Value] = NOTHING


# the constructor of a named tuple is a Python function, which would cost as much again
_new = tuple.__new__


class Told(dict[str, Any]):
    """Attributes of names that the application chose itself, so that they may be those of others as well."""

    __slots__ = ()


UserFields = tuple[str, str | None, str | None]
"""The fields of a `User`, without that class: a tuple of a further class costs a request three times as much."""

USER_NAMES = ("user.id", "user.name", "user.email")
"""The attributes of the fields of a `User`."""


def attributes_of(
    user: UserFields | None, values: Mapping[str, Value], known: Mapping[str, Value] = NOTHING
) -> dict[str, Value]:
    """`known`, and what the application said under the names it has on spans, in a new dictionary.

    A `Told` where some name may be that of an attribute that others set; any other has names of ours.
    """
    attributes: dict[str, Value] = {**known}
    if user is not None:
        attributes.update([(name, part) for name, part in zip(USER_NAMES, user, strict=True) if part is not None])
    for key, value in values.items():
        name = attribute_name(key)
        if name is key:
            attributes = Told(attributes)
        attributes[name] = value
    return attributes


class Scope:
    """The place of what is known: a request, or a task or thread that has said something itself.

    Args:
        around: what the scope begins with, where there is one around it.
        request: the request it belongs to, if any.

    Attributes:
        request_id: None outside a request, and as long as nobody has asked for one.
        user: None as long as nobody has said.
        values: what `set_context` was given, by the application's own keys; replaced as a whole.
        known: the attributes before anything was said; of a request that a server of ours has begun see `knowing`.
        told: attributes of all that is known, None where they have to be put together by `telling`.
        record: all of it, None as long as nobody has asked, and again when something is said.
        spent: what the request spent so far, None as long as it is nothing; shared with the request.
        request: the request; of a request itself None, because a cycle would cost each request a garbage collection.
        opened: proves that a context is the owner's.
    """

    __slots__ = ("known", "opened", "record", "request", "request_id", "spent", "told", "user", "values")

    request_id: str | None
    user: UserFields | None
    values: Mapping[str, Value]
    known: Mapping[str, Value]
    told: Mapping[str, Value] | None
    record: Record | None
    spent: Spent | None
    opened: Token[Scope | None] | None

    def __init__(self, around: Scope | None = None, request: RequestScope | None = None) -> None:
        self.request = request
        self.spent = None if request is None else request.spending()
        self.opened = self.record = None
        if around is None:
            self.request_id = self.user = None
            self.values = self.known = self.told = NOTHING
        else:
            self.request_id, self.known = around.identify(), around.knowing()
            self.begin_as(around)

    def begin_as(self, around: Scope) -> None:
        """Begin with what was said around."""
        self.user, self.values = around.user, around.values
        self.told = None

    def identify(self) -> str | None:
        """The id of the request, None outside one."""
        return self.request_id

    def knowing(self) -> Mapping[str, Value]:
        """The attributes before anything was said."""
        return self.known

    def hear(self, values: Mapping[str, Any]) -> None:
        """Take what `set_context` was given."""
        while True:
            before = self.values
            merged = _merged(before, values)
            # threads that work for the request may say something as well; no call stands between these two lines
            if self.values is before:
                self.values = merged
                break
        self.told = self.record = None

    def telling(self) -> Mapping[str, Value]:
        """All that is known under the names it has on spans, a mapping that does not change any more."""
        while True:
            user, values = self.user, self.values
            told = self.told = attributes_of(user, values, self.knowing())
            # a thread that works for the request may have said something meanwhile
            if self.user is user and self.values is values:
                return told

    def recorded(self) -> Record:
        """The record, made if there is none."""
        record = self.record
        while record is None:
            told = self.told
            if told is None:
                told = self.telling()
            user = self.user
            known = None if user is None else User(*user)
            record = self.record = _new(Record, (self.identify(), known, self.values, told))
            if self.told is not told:
                record = None
        return record

    def spending(self) -> Spent | None:
        """Where calls are counted; None outside of requests and operations."""
        return self.spent


class RequestScope(Scope):
    """The scope of a request, from its first byte on.

    Attributes:
        request_id: as the caller gave it or as it was made; None as long as nobody has asked for one.
        server_span: of the request, None where there is none.
    """

    __slots__ = ("server_span",)

    request = None  # an attribute of the class spares each request one of its own

    def __init__(self, request_id: str | None = None, server_span: Span | None = None) -> None:
        self.record = self.user = self.spent = self.opened = None
        self.values = self.known = self.told = NOTHING
        self.request_id = request_id
        self.server_span = server_span

    def identify(self) -> str:
        """The request's id; the trace id where the caller gave none, or random digits where there is no trace."""
        found = self.request_id
        if found is None:
            trace_id = 0 if self.server_span is None else self.server_span.get_span_context().trace_id
            found = self.request_id = f"{trace_id:032x}" if trace_id else token_hex(16)
        return found

    def spending(self) -> Spent:
        """Where its calls are counted, from the first one on."""
        spent = self.spent
        if spent is None:
            spent = self.spent = Spent(self.repeats())
        return spent

    def repeats(self) -> int:
        """How often one statement may run; 0 for any number."""
        return REPEATS


_variable: ContextVar[Scope | None] = ContextVar("otel_distro_scope", default=None)
set_scope = _variable.set
reset_scope = _variable.reset

current_scope = _variable.get
"""The scope of the running code, or None: what the hot paths read."""


def open_scope(scope: Scope) -> None:
    """Make `scope` the running code's own; `close_scope` must follow."""
    scope.opened = set_scope(scope)


def close_scope(scope: Scope) -> None:
    """Put back what was there before; a scope that was opened in another context is left to it."""
    opened = scope.opened
    scope.opened = None
    if opened is not None:
        try:
            reset_scope(opened)
        except (ValueError, RuntimeError):
            return


def current() -> Record | None:
    """What is known about the running code: one look-up, made for every log record, event and span.

    Returns:
        The record; None outside a request where nothing was set.
    """
    scope = current_scope()
    return None if scope is None else scope.record or scope.recorded()


def request_id() -> str | None:
    """The id of the running request, None outside one: what the caller sent if it was usable, else the trace id."""
    record = current()
    return None if record is None else record.request_id


def set_user(
    id: object,  # noqa: A002 - what everyone calls it
    *,
    name: str | None = None,
    email: str | None = None,
) -> None:
    """Say who the request, job or task is for; on every later span, log record and Sentry event, `None` takes it back.

    Never raises. Only what is given leaves the process: leave name and e-mail away where they should not.

    Args:
        id: stable and the application's own; anything but text becomes its text.
        name: the login or display name.
        email: the user's address.
    """
    user: UserFields | None = None
    if id is not None:
        if name is not None:
            name = _text(name)
        if email is not None:
            email = _text(email)
        user = (id if type(id) is str and len(id) <= _LONGEST else _text(id), name, email)
    scope: Any = current_scope()
    try:
        # this proves that the running code is in the very context in which the scope was opened, and in no copy of it
        reset_scope(scope.opened)
        scope.opened = set_scope(scope)
    except _NOT_OURS:
        scope = _own_scope(scope)
    request = scope.request
    if request is not None and request.user is None:
        # a task or thread of a request: the request's own span and log lines take what nobody has said before
        request.user = user
        request.told = request.record = None
    scope.user = user
    scope.told = scope.record = None


def set_context(**values: object) -> None:
    """Say what else the request, job or task is about: `tenant`, `workspace` and anything of the application's.

    On every later span, log record and Sentry event. Never raises.

    Args:
        values: text, numbers and booleans; anything else becomes its text, `None` takes a value back. On spans `tenant`
            is `tenant.id`, `workspace` is `workspace.id`, a key with a dot stays as it is, any other gets the prefix
            `context.`. At most 64; the count of those left out is the value of the key `dropped`.
    """
    scope: Any = current_scope()
    try:
        # this proves that the running code is in the very context in which the scope was opened, and in no copy of it
        reset_scope(scope.opened)
        scope.opened = set_scope(scope)
    except _NOT_OURS:
        scope = _own_scope(scope)
    request = scope.request
    if request is not None:
        before = request.values
        request.hear({key: value for key, value in values.items() if key not in before})
    elif not scope.values and len(values) <= _MOST_VALUES:
        for value in values.values():
            if type(value) is not str or len(value) > _LONGEST:
                break
        else:
            # the first and only ones of a request, all fit: the usual case; asked again, as in `hear`
            if not scope.values:
                scope.values = values
                scope.told = scope.record = None
                return
    scope.hear(values)


def attribute_name(key: str) -> str:
    """The attribute under which spans carry what `set_context` was given as `key`."""
    return _ATTRIBUTES.get(key) or (key if "." in key else f"context.{key}")


def _own_scope(scope: Scope | None) -> Scope:
    """The scope that the running code may write to, where the one it sees is not its own."""
    request: RequestScope | None = None
    if scope is not None:
        request = scope if isinstance(scope, RequestScope) else scope.request
        if request is not None and _in_a_worker():
            return scope
    own = Scope(scope, request)
    open_scope(own)
    return own


def _in_a_worker() -> bool:
    """Whether this is one of the threads in which Starlette runs synchronous functions, for whom it runs them."""
    if type(threading.current_thread()).__module__.partition(".")[0] == "anyio":
        return True
    trio: Any = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        # trio's threads are of no class of their own; only there this is allowed
        trio.from_thread.check_cancelled()
    except (RuntimeError, AttributeError):
        return False
    except trio.Cancelled:
        pass
    return True


def _merged(before: Mapping[str, Value], values: Mapping[str, Any]) -> dict[str, Any]:
    """What there is room for of both, with the count of those left out as `dropped`; taken back is what is None."""
    kept: dict[str, Any] = {**before}
    for key, value in values.items():
        if value is None:
            kept.pop(key, None)
        elif len(kept) < _MOST_VALUES or key in kept:
            kept[key] = plain(value)
        else:
            dropped = kept.get("dropped")
            kept["dropped"] = dropped + 1 if isinstance(dropped, int) else 1
    return kept


def tell(span: Span) -> None:
    """Put what is known on a span that has been open while it was said."""
    scope = current_scope()
    if scope is not None and span.is_recording():
        told = scope.told
        if told is None:
            told = scope.telling()
        if told:
            span.set_attributes(told)


def plain(value: object) -> Value:
    """A value of the kinds that are taken as they are; anything else as its text."""
    if type(value) is str:
        return value if len(value) <= _LONGEST else value[:_LONGEST]
    return value if isinstance(value, (bool, int, float)) else _text(value)


def _text(value: object) -> str:
    try:
        # what `__str__` gives may be of a class of its own
        text = value if type(value) is str else str.__str__(str(value))
    except Exception as raised:  # noqa: BLE001 - an object's own __str__ may raise anything
        let_through(raised)
        return "<unprintable>"
    return text if len(text) <= _LONGEST else text[:_LONGEST]


__all__ = ["Record", "User", "current", "request_id", "set_context", "set_user"]
