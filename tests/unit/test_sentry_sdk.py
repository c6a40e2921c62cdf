"""What the bridge relies on in sentry-sdk: private names, and differences of versions."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk import consts, transport, utils
from sentry_sdk.envelope import Envelope
from sentry_sdk.scope import Scope
from sentry_sdk.transport import Transport

from otel_distro.sentry import _sdk
from otel_distro.sentry._scopes import lazy, variable
from tests.otlp_servers import RawServer, keep_answering, read_request


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
    """What posts and connects, how a scope gets a client, and the default options are where they were."""
    assert "_request" in vars(transport.HttpTransport)
    assert "_make_pool" in vars(transport.HttpTransport)
    assert callable(Scope.set_client)
    assert isinstance(consts.DEFAULT_OPTIONS, dict)


def test_unknown_options_are_left_out() -> None:
    """An option that the installed version does not have never reaches `init`, which would raise."""
    assert _sdk.known({"dsn": None, "nobody_knows_this": 1}) == {"dsn": None}
    assert _sdk.knows("dsn")
    assert not _sdk.knows("nobody_knows_this")


def test_events_of_a_lazy_scope_are_sent(kept: Kept) -> None:
    """sentry-sdk itself takes a lazy scope for one of its own."""
    isolation = variable("_isolation_scope")
    token = isolation.set(lazy(isolation.get()))
    try:
        sentry_sdk.set_tag("a", "b")
        sentry_sdk.capture_message("hello")
    finally:
        isolation.reset(token)
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


@pytest.fixture
def bound_pool() -> Iterator[None]:
    """Transports that are made read the beginning of an answer."""
    original = transport.HttpTransport._make_pool
    _sdk.bound_transports()
    yield
    transport.HttpTransport._make_pool = original  # type: ignore[method-assign]


def posted(server: RawServer) -> Any:
    """What sentry-sdk's transport is answered."""
    made = transport.make_transport(sentry_sdk.Client(dsn=f"http://k@127.0.0.1:{server.port}/1").options)
    assert isinstance(made, transport.HttpTransport)
    answers = [made._request("POST", transport.EndpointType.ENVELOPE, b"{}", {}) for _ in range(2)]
    made.kill()
    return answers[-1]


def test_answers_that_are_read_keep_their_connection(bound_pool: None) -> None:
    """A short answer arrives whole, with status and headers, and the next request has the same connection."""
    answer = b"HTTP/1.1 413 No\r\nX-Sentry-Rate-Limits: 60::org\r\nContent-Length: 7\r\n\r\nthe end"
    with RawServer(keep_answering(answer)) as server:
        found = posted(server)
        assert (found.status, found.data, found.headers["x-sentry-rate-limits"]) == (413, b"the end", "60::org")
        assert server.connections == 1


def test_an_answer_that_never_ends_is_let_go(bound_pool: None) -> None:
    """Nobody waits for its end, or keeps more than its beginning."""

    def endless(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")

    with RawServer(endless) as server:
        assert len(posted(server).data) <= 65_536
        assert server.connections == 2


@pytest.fixture
def bound() -> Iterator[None]:
    """The events of exceptions are bounded."""
    original = utils.exceptions_from_error
    _sdk.bound_exceptions()
    yield
    utils.exceptions_from_error = original


def chain_of(length: int) -> BaseException:
    """A group of one at the end of a long chain of reasons."""
    error: BaseException = ExceptionGroup("last", [ValueError()])
    for number in range(length):
        error, reason = ExceptionGroup("g", [ValueError(number)]), error
        error.__cause__ = reason
    return error


def circle() -> BaseException:
    """A group whose one exception has it for its reason, as Starlette makes one."""
    inner = ExceptionGroup("inner", [ValueError(), TypeError()])
    inner.__cause__ = ExceptionGroup("outer", [inner])
    return inner


@pytest.mark.parametrize(
    ("error", "values"),
    [(circle(), 4), (ExceptionGroup("big", [ValueError()] * 5_000), 2),
     (ExceptionGroup("big", [ValueError() for _ in range(5_000)]), 100), (chain_of(2_000), 100)],
    ids=["circle", "one", "many", "chain"],
)  # fmt: skip
@pytest.mark.usefixtures("bound")
def test_an_event_tells_of_each_exception_once_and_of_so_many(kept: Kept, error: BaseException, values: int) -> None:
    """Groups in circles, large groups and long chains make an event that is neither endless nor lost."""
    sentry_sdk.capture_exception(error)
    (envelope,) = kept.envelopes
    event = envelope.items[0].payload.json
    assert event is not None
    assert len(event["exception"]["values"]) == values
    assert event["exception"]["values"][-1]["type"] == "ExceptionGroup"
