"""What the bridge relies on in sentry-sdk: private names, differences of versions; and the lazy scope."""

from __future__ import annotations

import copy
import inspect
import os
import signal
import threading
from collections.abc import Iterator

import pytest
import sentry_sdk
from sentry_sdk import consts, transport
from sentry_sdk.envelope import Envelope
from sentry_sdk.scope import Scope, ScopeType
from sentry_sdk.transport import Transport

from otel_distro.sentry import _sdk
from otel_distro.sentry._sdk import CURRENT, ISOLATION, LazyScope, lazy


class Kept(Transport):
    """Keeps envelopes."""

    def __init__(self) -> None:
        super().__init__()
        self.envelopes: list[Envelope] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)


@pytest.fixture
def kept() -> Iterator[Kept]:
    """sentry-sdk with a transport that keeps what it gets, and without integrations."""
    made = Kept()
    before = Scope.get_global_scope().client
    sentry_sdk.init(
        dsn="http://k@127.0.0.1:9/1", transport=made, default_integrations=False, auto_enabling_integrations=False
    )
    yield made
    Scope.get_global_scope().set_client(before)


def test_the_private_names_are_there() -> None:
    """The context variables of the scopes, the slots of a scope and the method that posts are where they were."""
    assert isinstance(Scope.__slots__, tuple)
    assert {"_tags", "_type", "_breadcrumbs", "_propagation_context"} <= set(Scope.__slots__)
    assert "_request" in vars(transport.HttpTransport)
    assert callable(Scope.set_client)
    assert isinstance(consts.DEFAULT_OPTIONS, dict)
    token = ISOLATION.set(None)
    try:
        assert Scope.get_isolation_scope() is ISOLATION.get()
    finally:
        ISOLATION.reset(token)
    token = CURRENT.set(None)
    try:
        assert Scope.get_current_scope() is CURRENT.get()
    finally:
        CURRENT.reset(token)


def test_unknown_options_are_left_out() -> None:
    """An option that the installed version does not have never reaches `init`, which would raise."""
    assert _sdk.known({"dsn": None, "nobody_knows_this": 1}) == {"dsn": None}
    assert _sdk.knows("dsn")
    assert not _sdk.knows("nobody_knows_this")


def test_every_copied_slot_is_filled() -> None:
    """A copy of a scope has every slot, so that a lazy one can take them over."""
    copied = copy.copy(Scope(ty=ScopeType.ISOLATION))
    missing = [slot for slot in Scope.__slots__ if not hasattr(copied, slot)]
    assert set(missing) <= {"_last_event_id"}


def test_a_lazy_scope_is_what_it_is_forked_from() -> None:
    """Tags of the parent are there, and what is written does not reach the parent."""
    parent = Scope(ty=ScopeType.ISOLATION)
    parent.set_tag("from", "parent")
    made = lazy(parent, None, None)
    made.set_tag("own", "value")
    assert made._tags == {"from": "parent", "own": "value"}
    assert parent._tags == {"from": "parent"}


def test_a_lazy_scope_keeps_what_is_written_before_it_is_read() -> None:
    """A first write is not lost when the rest is filled in later."""
    parent = Scope(ty=ScopeType.ISOLATION)
    parent.set_user({"id": "parent"})
    made = lazy(parent, None, None)
    made._user = {"id": "own"}
    made.set_tag("a", "b")
    assert made._user == {"id": "own"}


def test_nothing_is_filled_as_long_as_nobody_looks() -> None:
    """A request without events does not pay for a fork; a fork of such a scope neither."""
    made = lazy(Scope(ty=ScopeType.ISOLATION), {"path": "/"}, None)
    forked = made.fork()
    assert isinstance(forked, LazyScope)
    assert forked.asgi == {"path": "/"}
    for scope in (made, forked):
        with pytest.raises(AttributeError):
            object.__getattribute__(scope, "_tags")


def test_a_fork_does_not_write_into_its_origin() -> None:
    """A thread's scope starts with the request's tags and keeps its own to itself."""
    made = lazy(None, None, None)
    made.set_tag("request", "1")
    forked = made.fork()
    forked.set_tag("thread", "2")
    assert made._tags == {"request": "1"}
    assert forked._tags == {"request": "1", "thread": "2"}


def test_threads_that_start_threads_keep_no_chain() -> None:
    """However often a fork is forked, filled or not, nothing holds on to the ones before."""
    for filled in (False, True):
        made: Scope = lazy(Scope(ty=ScopeType.ISOLATION), None, None)
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
        _ = lazy(None, None, None).nothing_of_the_kind


def test_threads_that_look_first_at_the_same_time_agree() -> None:
    """Of many threads that write a tag into an unfilled scope none is lost."""
    for _ in range(50):
        made = lazy(None, None, None)
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


def test_events_of_a_lazy_scope_are_sent(kept: Kept) -> None:
    """sentry-sdk itself takes a lazy scope for one of its own."""
    token = ISOLATION.set(lazy(ISOLATION.get(), None, None))
    try:
        sentry_sdk.set_tag("a", "b")
        sentry_sdk.capture_message("hello")
    finally:
        ISOLATION.reset(token)
    (envelope,) = kept.envelopes
    event = envelope.items[0].payload.json
    assert event["tags"] == {"a": "b"}
    assert "a" not in Scope.get_isolation_scope()._tags


def test_an_exception_event_has_its_mechanism(kept: Kept) -> None:
    """Both signatures of `event_from_exception` give an event and a hint."""
    try:
        raise ValueError("x")  # noqa: TRY301
    except ValueError as error:
        event, hint = _sdk.exception_event(error, _sdk.client(), {"type": "asgi", "handled": False})
    assert event["exception"]["values"][0]["mechanism"]["type"] == "asgi"
    assert hint["exc_info"][0] is ValueError


def test_a_forked_childs_transport_is_new() -> None:
    """A transport of sentry-sdk's own is made again; one that the application made is left alone."""
    client = sentry_sdk.Client(dsn="http://k@127.0.0.1:9/1", default_integrations=False)
    before = client.transport
    _sdk.renew_transport(client)
    assert client.transport is not before
    assert type(client.transport) is type(before)
    own = Kept()
    client = sentry_sdk.Client(dsn="http://k@127.0.0.1:9/1", transport=own, default_integrations=False)
    _sdk.renew_transport(client)
    assert client.transport is own


def test_requests_of_sentry_sdk_are_patched_once() -> None:
    """The methods that post are wrapped, and wrapping twice wraps once."""
    originals = {
        owner: vars(owner)["_request"]
        for owner in vars(transport).values()
        if isinstance(owner, type) and "_request" in vars(owner)
    }
    try:
        _sdk.silence_transports()
        once = transport.HttpTransport._request
        _sdk.silence_transports()
        assert transport.HttpTransport._request is once
        assert inspect.unwrap(once) is not once
    finally:
        for owner, original in originals.items():
            owner._request = original  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forked_while_a_scope_is_filled_fills_its_own() -> None:
    """The thread that held the lock is not in the child, which must not wait for it."""
    held, done = threading.Event(), threading.Event()

    def fill() -> None:
        with _sdk._FILLING.lock:
            held.set()
            done.wait(20)

    thread = threading.Thread(target=fill)
    thread.start()
    assert held.wait(10)
    child = os.fork()
    if not child:
        signal.alarm(10)
        os._exit(0 if lazy(None, None, None)._tags == {} else 1)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
