"""Scopes of requests: what they rely on in sentry-sdk, that they are lazy, and that none sees another's."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk import scope as scopes
from sentry_sdk.scope import Scope, ScopeType

from otel_distro.sentry import _scopes
from otel_distro.sentry._scopes import LazyScope, ScopeVariable, lazy, renew, restore, variable

RUNNING: ContextVar[Any] = ContextVar("running", default=None)


class Request:
    """A request."""

    def __init__(self) -> None:
        self.isolation: Scope | None = None


def own(request: Request, around: Scope | None) -> Scope:
    """Its isolation scope, made once."""
    request.isolation = request.isolation or lazy(around, weakref.ref(request))
    return request.isolation


@pytest.fixture
def separated() -> Iterator[None]:
    """sentry-sdk as `separate` leaves it, in a process whose requests are those of `RUNNING`."""
    before = {name: variable(name) for name in ("_isolation_scope", "_current_scope")}
    for name in before:
        setattr(scopes, name, ContextVar(name, default=None))
    _scopes.separate(RUNNING.get, own)
    yield
    for name, original in before.items():
        setattr(scopes, name, original)


def within(request: Request | None, test: Callable[[], Any]) -> Any:
    """What `test` gives in a context of its own, in which `request` runs."""

    def run() -> Any:
        RUNNING.set(request)
        return test()

    return contextvars.copy_context().run(run)


def tags() -> dict[str, str]:
    """Of the isolation scope."""
    return dict(Scope.get_isolation_scope()._tags)


def test_the_private_names_are_there() -> None:
    """The variables of the scopes are where sentry-sdk looks for them, and a scope has the slots that it had."""
    assert isinstance(Scope.__slots__, tuple)
    assert {"_tags", "_type", "_breadcrumbs", "_propagation_context"} <= set(Scope.__slots__)
    for name, get in (("_isolation_scope", Scope.get_isolation_scope), ("_current_scope", Scope.get_current_scope)):
        token = variable(name).set(None)
        try:
            assert get() is variable(name).get()
        finally:
            variable(name).reset(token)


def test_no_other_module_has_the_variables() -> None:
    """Whoever reads or writes a scope asks for the variable by its module, where another may stand in for it."""
    originals = {id(variable("_isolation_scope")), id(variable("_current_scope"))}
    holders = [
        name
        for name, module in list(sys.modules.items())
        if name.startswith("sentry_sdk") and originals & {id(value) for value in vars(module).values()}
    ]
    assert holders == ["sentry_sdk.scope"]


def test_every_copied_slot_is_filled() -> None:
    """A copy of a scope has every slot, so that a lazy one can take them over."""
    copied = copy.copy(Scope(ty=ScopeType.ISOLATION))
    missing = [slot for slot in Scope.__slots__ if not hasattr(copied, slot)]
    assert set(missing) <= {"_last_event_id"}


def test_a_lazy_scope_is_what_it_is_forked_from() -> None:
    """Tags of the parent are there, and what is written does not reach the parent."""
    parent = Scope(ty=ScopeType.ISOLATION)
    parent.set_tag("from", "parent")
    made = lazy(parent)
    made.set_tag("own", "value")
    assert made._tags == {"from": "parent", "own": "value"}
    assert parent._tags == {"from": "parent"}


def test_a_lazy_scope_keeps_what_is_written_before_it_is_read() -> None:
    """A first write is not lost when the rest is filled in later."""
    parent = Scope(ty=ScopeType.ISOLATION)
    parent.set_user({"id": "parent"})
    made = lazy(parent)
    made._user = {"id": "own"}
    made.set_tag("a", "b")
    assert made._user == {"id": "own"}


def test_nothing_is_filled_as_long_as_nobody_looks() -> None:
    """A request without events does not pay for a fork; a fork of such a scope neither."""
    made = lazy(Scope(ty=ScopeType.ISOLATION), lambda: "request")
    forked = made.fork()
    assert isinstance(forked, LazyScope)
    assert forked.request() == "request"
    for scope in (made, forked):
        with pytest.raises(AttributeError):
            object.__getattribute__(scope, "_tags")


def test_a_fork_does_not_write_into_its_origin() -> None:
    """A thread's scope starts with the request's tags and keeps its own to itself."""
    made = lazy(None)
    made.set_tag("request", "1")
    forked = made.fork()
    forked.set_tag("thread", "2")
    assert made._tags == {"request": "1"}
    assert forked._tags == {"request": "1", "thread": "2"}


def test_threads_that_start_threads_keep_no_chain() -> None:
    """However often a fork is forked, filled or not, nothing holds on to the ones before."""
    for filled in (False, True):
        made: Scope = lazy(Scope(ty=ScopeType.ISOLATION))
        if filled:
            made.set_tag("a", "b")
        for _ in range(5_000):
            made = made.fork()
        assert isinstance(made, LazyScope)
        assert not isinstance(made.parent, LazyScope)
        made.set_tag("c", "d")


def test_an_attribute_that_no_scope_has_is_an_error() -> None:
    """The lazy scope invents nothing."""
    with pytest.raises(AttributeError):
        _ = lazy(None).nothing_of_the_kind


def test_threads_that_look_first_at_the_same_time_agree() -> None:
    """Of many threads that write a tag into an unfilled scope none is lost."""
    for _ in range(50):
        made = lazy(None)
        start = threading.Barrier(8)

        def write(number: int, made: LazyScope = made, start: threading.Barrier = start) -> None:
            start.wait()
            made.set_tag(f"t{number}", "x")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made._tags) == 8


@pytest.mark.usefixtures("separated")
def test_what_a_request_says_stays_in_it() -> None:
    """Tags, by either scope, reach no other request and not what is around; tags from around are there."""

    def tagged() -> tuple[dict[str, str], dict[str, str]]:
        sentry_sdk.set_tag("request", "1")
        Scope.get_current_scope().set_tag("current", "1")
        return tags(), dict(Scope.get_current_scope()._tags)

    def around() -> None:
        sentry_sdk.set_tag("around", "0")
        Scope.get_current_scope().set_tag("current", "0")
        assert within(Request(), tagged) == ({"around": "0", "request": "1"}, {"current": "1"})
        assert within(Request(), tags) == {"around": "0"}
        assert within(Request(), lambda: dict(Scope.get_current_scope()._tags)) == {}
        assert tags() == {"around": "0"}
        assert Scope.get_current_scope()._tags == {"current": "0"}

    within(None, around)


@pytest.mark.usefixtures("separated")
def test_tasks_and_threads_of_a_request_share_its_scope() -> None:
    """What a task or a thread that has the request's context says is said by the request, whoever asks first."""

    async def run() -> dict[str, str]:
        async def tag(name: str) -> None:
            sentry_sdk.set_tag(name, "x")

        await asyncio.gather(tag("task 1"), tag("task 2"))
        await asyncio.to_thread(sentry_sdk.set_tag, "thread", "x")
        return tags()

    assert set(within(Request(), lambda: asyncio.run(run()))) == {"task 1", "task 2", "thread"}


@pytest.mark.usefixtures("separated")
def test_blocks_within_a_request_end() -> None:
    """`isolation_scope` and `new_scope` see the request's tags and leave nothing behind."""

    def test() -> None:
        sentry_sdk.set_tag("request", "1")
        with sentry_sdk.isolation_scope():
            sentry_sdk.set_tag("block", "1")
            assert tags() == {"request": "1", "block": "1"}
        with sentry_sdk.new_scope() as inner:
            inner.set_tag("inner", "1")
            assert Scope.get_current_scope()._tags == {"inner": "1"}
        assert tags() == {"request": "1"}
        assert Scope.get_current_scope()._tags == {}

    within(Request(), test)


@pytest.mark.usefixtures("separated")
def test_a_request_within_a_request_is_another() -> None:
    """What it says does not reach the one around it, and what that has put in place does not hold in it."""

    def outer() -> None:
        sentry_sdk.set_tag("outer", "1")

        def inner() -> None:
            sentry_sdk.set_tag("inner", "1")

        within(Request(), inner)
        assert tags() == {"outer": "1"}

    within(Request(), outer)


@pytest.mark.usefixtures("separated")
def test_scopes_that_are_put_in_place_are_put_back() -> None:
    """Who begins a request by hand has a scope of its own until the end, which does no harm in another context."""

    def test() -> None:
        sentry_sdk.set_tag("around", "1")
        tokens = renew(lazy(variable("_isolation_scope").get()))
        sentry_sdk.set_tag("request", "1")
        assert tags() == {"around": "1", "request": "1"}
        contextvars.copy_context().run(restore, tokens)
        restore(tokens)
        assert tags() == {"around": "1"}

    within(None, test)
    within(Request(), test)


@pytest.mark.usefixtures("separated")
def test_a_thread_remembers_the_request_and_the_request_forgets_itself() -> None:
    """A fork for a thread knows its request for as long as it lives; a request needs no garbage collection."""

    def test() -> tuple[Scope, weakref.ref[Request]]:
        sentry_sdk.set_tag("request", "1")
        return Scope.get_isolation_scope().fork(), weakref.ref(RUNNING.get())

    gc.disable()
    try:
        forked, request = within(Request(), test)
        assert isinstance(forked, LazyScope)
        assert forked.request() is request()
        del forked
        assert request() is None
    finally:
        gc.enable()


def test_nothing_is_made_where_nobody_asks() -> None:
    """A variable that is not read calls nobody; outside of requests it is the one that it stands for."""
    original: ContextVar[Scope | None] = ContextVar("original", default=None)
    stands_in = ScopeVariable(original, RUNNING.get, own)
    assert stands_in.name == "original"
    assert stands_in.get() is None
    scope = Scope(ty=ScopeType.ISOLATION)
    token = stands_in.set(scope)
    assert original.get() is stands_in.get() is scope
    stands_in.reset(token)
    assert stands_in.get() is None


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forked_while_a_scope_is_filled_fills_its_own() -> None:
    """The thread that held the lock is not in the child, which must not wait for it."""
    held, done = threading.Event(), threading.Event()

    def fill() -> None:
        with _scopes._FILLING.lock:
            held.set()
            done.wait(20)

    thread = threading.Thread(target=fill)
    thread.start()
    assert held.wait(10)
    child = os.fork()
    if not child:
        signal.alarm(10)
        os._exit(0 if lazy(None)._tags == {} else 1)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
