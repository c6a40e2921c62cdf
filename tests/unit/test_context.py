"""Who a request is for: what is said once is on everything later of that request, and on nothing of another."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from fastapi import BackgroundTasks, Depends, FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.middleware.base import BaseHTTPMiddleware

from otel_distro import context, request_id, set_context, set_user
from otel_distro.context import Record, RequestScope, close_scope, current, open_scope
from otel_distro.logs.correlation import Correlation
from otel_distro.logs.fields import CONTEXT
from otel_distro.pipeline._context import ContextOnSpans
from tests.asgi_rig import Rig, drive, get, one_route, rigged, scope_of
from tests.recording import named


@pytest.fixture(autouse=True)
def _own_context() -> Iterator[None]:
    """Nothing is known at the beginning of a test, and nothing of it is known to the next."""
    scope = context.Scope()
    assert current() is None
    yield
    del scope
    context.set_scope(None)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """The server path, where nothing may fail."""
    with rigged() as made:
        yield made
        assert made.guard.failures == ()


def told(span: Any) -> dict[str, Any]:
    """What a span says of the application's context."""
    keys = ("user.", "tenant.", "workspace.", "context.", "request.id")
    return {name: value for name, value in span.attributes.items() if name.startswith(keys)}


def test_outside_of_everything_nothing_is_known() -> None:
    """Without a request and before anything was said there is no record and no request id."""
    assert current() is None
    assert request_id() is None


def test_user_and_context_are_one_record() -> None:
    """What was said is there under its own keys and under the names of spans; a user that is taken back is gone."""
    set_user(7, name="Ada", email="ada@shop.test")
    set_context(tenant="acme", workspace="w1", cart=3, **{"shop.plan": "pro"})
    record = current()
    assert record is not None
    assert record.user == ("7", "Ada", "ada@shop.test")
    assert (record.values["tenant"], record.values["workspace"]) == ("acme", "w1")
    assert record.attributes == {
        "user.id": "7",
        "user.name": "Ada",
        "user.email": "ada@shop.test",
        "tenant.id": "acme",
        "workspace.id": "w1",
        "context.cart": 3,
        "shop.plan": "pro",
    }
    set_user(None)
    set_context(cart=None)
    record = current()
    assert record is not None
    assert record.user is None
    assert record.attributes == {"tenant.id": "acme", "workspace.id": "w1", "shop.plan": "pro"}


def test_a_record_never_changes() -> None:
    """A record that somebody kept says what was known when it was taken."""
    set_context(step=1)
    before = current()
    set_context(step=2)
    assert before is not None
    assert before.values == {"step": 1}


class _Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_whatever_is_given_is_bounded() -> None:
    """Objects become text, long text is cut, more than 64 values are counted and left out; nothing raises."""
    set_user(_Hostile(), name="n" * 5_000)
    set_context(**{f"k{number}": number for number in range(70)})
    set_context(k0=_Hostile(), k1=[1], k2="x" * 5_000)
    record = current()
    assert record is not None
    assert record.user is not None
    assert record.user.id == "<unprintable>"
    assert len(record.user.name or "") == 1_024
    assert len(record.values) == 65
    assert record.values["dropped"] == 6
    assert (record.values["k0"], record.values["k1"], len(str(record.values["k2"]))) == ("<unprintable>", "[1]", 1_024)


def test_tasks_threads_and_copies_are_their_own() -> None:
    """A task, a thread and a copied context see what was said before them, and what they say stays with them."""

    def says(name: str) -> Record | None:
        set_context(who=name)
        return current()

    async def said(name: str) -> Record | None:
        return says(name)

    async def main() -> list[Record | None]:
        set_context(tenant="acme", who="main")
        answers = await asyncio.gather(said("a"), asyncio.create_task(said("b")), asyncio.to_thread(says, "c"))
        return [*answers, current()]

    answers = asyncio.run(main())
    assert [dict(answer.values) if answer else None for answer in answers] == [
        {"tenant": "acme", "who": name} for name in ("a", "b", "c", "main")
    ]
    set_context(who="outer")
    contextvars.copy_context().run(says, "copy")
    thread = threading.Thread(target=says, args=("thread",))
    thread.start()
    thread.join()
    outer = current()
    assert outer is not None
    assert outer.values == {"who": "outer"}


def test_threads_that_work_for_one_request_lose_nothing() -> None:
    """What several threads say of one request at the same moment is all kept."""
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(30):
            scope = RequestScope("r1")

            def says(who: int, scope: RequestScope = scope) -> None:
                for number in range(15):
                    scope.hear({f"k{who}-{number}": "x"})

            threads = [threading.Thread(target=says, args=(who,)) for who in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(scope.values) == 60
    finally:
        sys.setswitchinterval(switch)


def test_a_scope_closed_elsewhere_stays_where_it_is() -> None:
    """Closing a scope from another context leaves both contexts as they are and raises nothing."""
    scope = RequestScope("r1")
    open_scope(scope)
    contextvars.copy_context().run(close_scope, scope)
    assert request_id() == "r1"


def test_every_later_span_of_a_request_and_the_server_span_carry_it(rig: Rig) -> None:
    """Spans started after `set_user` and the server span have it; one started before does not."""
    tracer = rig.tracer_provider.get_tracer("test")

    async def handler(request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        with tracer.start_as_current_span("before"):
            pass
        set_user("u1")
        set_context(tenant="acme")
        with tracer.start_as_current_span("after", attributes={"own": 1, "tenant.id": "mine"}):
            pass
        return PlainTextResponse("fine")

    get(one_route(handler), "/p/1")
    # by name: in which order threads hand them over is nobody's promise
    after, before, server = sorted(rig.take(), key=lambda span: span.name.casefold())
    assert [span.name for span in (after, before)] == ["after", "before"]
    assert told(before) == {}
    assert told(after) == {"user.id": "u1", "tenant.id": "mine"}
    assert after.attributes["own"] == 1
    assert told(server) == {"user.id": "u1", "tenant.id": "acme"}


@pytest.mark.parametrize("on_trio", [False, True], ids=["asyncio", "trio"])
def test_synchronous_code_of_an_application_speaks_for_its_request(rig: Rig, on_trio: bool) -> None:
    """The user that synchronous code, which runs in threads, sets last is the endpoint's and the server span's."""
    seen: list[Record | None] = []

    def user() -> None:
        set_user("sync")

    app = FastAPI()

    @app.get("/a")
    async def a(_: None = Depends(user)) -> None:
        seen.append(current())

    @app.get("/s")
    def s(_: None = Depends(user)) -> None:
        set_context(tenant="t")
        set_user("second")

    def get(app: FastAPI, path: str) -> None:
        if on_trio:
            trio.run(drive, app, scope_of(path))
        else:
            asyncio.run(drive(app, scope_of(path)))

    get(app, "/a")
    assert told(rig.only()) == {"user.id": "sync"}
    assert seen[0] is not None
    assert seen[0].user == ("sync", None, None)
    get(app, "/s")
    assert told(rig.only()) == {"user.id": "second", "tenant.id": "t"}


def test_a_middleware_that_runs_the_application_in_a_task_hides_nothing(rig: Rig) -> None:
    """Below `BaseHTTPMiddleware` the endpoint is a task of its own; its user is on the server span all the same."""
    app = FastAPI()

    @app.get("/a")
    async def a() -> None:
        set_user("u1")
        set_context(tenant="acme")

    async def passes(request: Any, call_next: Any) -> Any:
        set_context(layer="middleware")
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=passes)
    get(app, "/a")
    assert told(rig.only()) == {"user.id": "u1", "tenant.id": "acme", "context.layer": "middleware"}


def test_tasks_of_one_request_have_tenants_of_their_own(rig: Rig) -> None:
    """Two tasks of a request say different tenants: each one's spans have its own, the server span the first."""
    tracer = rig.tracer_provider.get_tracer("test")

    async def work(tenant: str) -> None:
        set_context(tenant=tenant)
        await asyncio.sleep(0)
        with tracer.start_as_current_span(tenant):
            await asyncio.sleep(0)

    async def handler(request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        await asyncio.gather(work("a"), work("b"))
        return PlainTextResponse("fine")

    get(one_route(handler), "/p/1")
    spans = named(rig.take())
    server = spans.pop("GET /p/{x}")
    assert sorted((span.name, span.attributes["tenant.id"]) for span in spans.values()) == [("a", "a"), ("b", "b")]
    assert told(server) == {"tenant.id": "a"}


def test_background_tasks_keep_it(rig: Rig) -> None:
    """A background task, which runs after the response, has the request's id and user, and its own additions."""
    seen: list[Record | None] = []
    app = FastAPI()

    async def later() -> None:
        set_context(job="mail")
        seen.append(current())

    @app.get("/a")
    async def a(tasks: BackgroundTasks) -> None:
        set_user("u1")
        tasks.add_task(later)

    get(app, "/a", headers={"x-request-id": "r1"})
    server, task = sorted(rig.take(), key=lambda span: span.name != "GET /a")
    assert told(server) == {"request.id": "r1", "user.id": "u1"}
    assert told(task) == {"request.id": "r1", "user.id": "u1", "context.job": "mail"}
    assert seen[0] is not None
    assert seen[0].request_id == "r1"


@pytest.mark.parametrize("lean", [True, False], ids=["lean", "upstream"])
def test_after_a_request_nothing_is_known(lean: bool) -> None:
    """The caller of an application in its own process gets back what it had, and the request never saw that."""
    set_context(outer=True)
    seen: list[Record | None] = []

    async def handler(request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        seen.append(current())
        set_user("inner")
        return PlainTextResponse("fine")

    async def main() -> Record | None:
        await drive(one_route(handler), scope_of("/p/1", headers={"x-request-id": "inner"}))
        return current()

    with rigged(lean=lean) as rig:
        rig.tracer_provider.add_span_processor(ContextOnSpans())
        outer = asyncio.run(main())
        assert told(rig.only()) == {"request.id": "inner", "user.id": "inner"}
    assert seen == [Record("inner", attributes={"request.id": "inner"})]
    assert outer is not None
    assert outer.values == {"outer": True}
    assert outer.user is None


@pytest.mark.parametrize(("sampler", "many"), [("parentbased_always_on", 2_000), ("always_off", 1_000)])
def test_concurrent_requests_share_nothing(sampler: str, many: int) -> None:
    """Of thousands of requests at once, each with its id, user and tenant, no value is on another's span or line."""
    tracer: list[trace.Tracer] = []
    wrong: list[tuple[str, Record | None]] = []
    correlation = Correlation("shop", contextual=True)

    def trace_id() -> str:
        return f"{trace.get_current_span().get_span_context().trace_id:032x}"

    async def handler(request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        number = request.path_params["x"]
        await asyncio.sleep(0)
        set_user(f"user-{number}")
        await asyncio.sleep(0)
        set_context(tenant=f"tenant-{number}", workspace=f"workspace-{number}")
        await asyncio.sleep(0)
        with tracer[0].start_as_current_span("child", attributes={"number": number}):
            await asyncio.sleep(0)
        record = current()
        if record is None or (request_id(), record.user, record.values.get("tenant")) != (
            f"id-{number}",
            (f"user-{number}", None, None),
            f"tenant-{number}",
        ):
            wrong.append((number, record))
        line = logging.makeLogRecord({})
        correlation.put_on(line)
        if line.__dict__[CONTEXT] != record or line.__dict__["otelTraceID"] != trace_id():
            wrong.append((number, record))
        return PlainTextResponse(number)

    async def main(app: Any) -> list[list[Any]]:
        return await asyncio.gather(*[
            drive(app, scope_of(f"/p/{number}", headers={"x-request-id": f"id-{number}"})) for number in range(many)
        ])  # fmt: skip

    with rigged(sampler=sampler) as rig:
        tracer.append(rig.tracer_provider.get_tracer("test"))
        answers = asyncio.run(main(one_route(handler)))
        spans = rig.take()
    assert wrong == []
    for number, (start, body) in enumerate(answers):
        assert body["body"] == str(number).encode()
        assert dict(start["headers"])[b"x-request-id"] == f"id-{number}".encode()
    assert len(spans) == (2 * many if sampler == "parentbased_always_on" else 0)
    for span in spans:
        number = span.attributes["number"] if span.name == "child" else span.attributes["url.path"].rpartition("/")[2]
        assert told(span) == {
            "request.id": f"id-{number}",
            "user.id": f"user-{number}",
            "tenant.id": f"tenant-{number}",
            "workspace.id": f"workspace-{number}",
        }


def test_upstreams_spans_carry_it_as_well() -> None:
    """Under `OTEL_DISTRO_PIPELINE=upstream` a span that starts has what was said before."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(ContextOnSpans())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_user("u1")
    with provider.get_tracer("test").start_as_current_span("work"):
        pass
    (span,) = exporter.get_finished_spans()
    assert told(span) == {"user.id": "u1"}
