"""redis-py: one span a command or pipeline, patterns instead of keys, against a server that runs in this process."""

from __future__ import annotations

import asyncio
import importlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from redis.backoff import NoBackoff
from redis.retry import Retry

from otel_distro.instrumentation.binding import NOTHING
from otel_distro.instrumentation.redis import RedisInstrumentation
from otel_distro.instrumentation.redis.clients import status_code
from otel_distro.instrumentation.redis.commands import RedisOperation, plain
from tests.recording import Recording, instrumented, named, recorded

SECRET = "joe@example.org"


@pytest.fixture(params=["whole", "brief"])
def recording(request: pytest.FixtureRequest) -> Iterator[Recording]:
    """redis-py, instrumented, with spans that are objects and without; nothing of the distro may have failed."""
    with recorded(RedisInstrumentation, brief=request.param == "brief") as recording:
        yield recording


@pytest.fixture
def client(port: int, recording: Recording) -> Iterator[Any]:
    """A client of an empty database 3."""
    with redis.Redis("127.0.0.1", port, db=3) as client:
        client.flushall()
        recording.take()
        yield client


def test_a_command_is_one_span_with_a_key_pattern(client: Any, recording: Recording, port: int) -> None:
    """Neither key nor value leaves: the text has the pattern of the key and placeholders."""
    client.set(f"user:{SECRET}:profile", SECRET)
    span = recording.one()
    assert (span.name, span.kind, span.parent) == ("SET", SpanKind.CLIENT, None)
    assert dict(span.attributes or {}) == {
        "db.system.name": "redis",
        "db.namespace": "3",
        "server.address": "127.0.0.1",
        "server.port": port,
        "db.operation.name": "SET",
        "db.query.text": "SET user:?.?:profile ?",
    }


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("GET", "user:1"), "GET user:?"),
        (("MGET", "user:1", "user:2", "joe"), "MGET user:? ? ?"),
        (("HSET", b"cart:7", "item", 1), "HSET cart:? ? ?"),
        (("PUBLISH", "channel:joe", "hello"), "PUBLISH ? ?"),
        (("ECHO", "secret"), "ECHO ?"),
        (("PING",), "PING"),
        (("SADD", "tags:1", *range(50)), "SADD tags:?" + " ?" * 8),
    ],
)
def test_texts_of_commands(client: Any, recording: Recording, arguments: tuple[Any, ...], text: str) -> None:
    """Only the first argument of commands on keys is shown, as a pattern; the number of placeholders is bounded."""
    client.execute_command(*arguments)
    assert (recording.one().attributes or {})["db.query.text"] == text


def test_errors_are_marked_without_their_message(client: Any, recording: Recording) -> None:
    """A failing command raises what it would raise; the span has class and prefix and no message."""
    client.set("user:1", SECRET)
    recording.take()
    with pytest.raises(redis.ResponseError):
        client.lpush("user:1", SECRET)
    span = recording.one()
    assert (span.attributes or {})["error.type"] == "ResponseError"
    assert (span.attributes or {})["db.response.status_code"] == "WRONGTYPE"
    assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())


def test_a_refused_connection_is_a_failed_span(recording: Recording) -> None:
    """When the server is away the span ends with the connection's error."""
    # once more at once: redis-py 8 itself waits for seconds in between
    retry = Retry(NoBackoff(), 1)
    with redis.Redis("127.0.0.1", 1, retry=retry) as client, pytest.raises(redis.ConnectionError):
        client.get("user:1")
    assert (recording.one().attributes or {})["error.type"] == "ConnectionError"


@pytest.mark.parametrize(("transaction", "kind"), [(True, "MULTI"), (False, "PIPELINE")])
def test_a_pipeline_is_one_span(client: Any, recording: Recording, transaction: bool, kind: str) -> None:
    """A pipeline is one batch, named by its only command or by its kind, with a line for each command."""
    pipeline = client.pipeline(transaction=transaction)
    pipeline.set("user:1", 1).set("user:2", 2).execute()
    pipeline.set("user:1", 1).get("user:1").execute()
    spans = named(recording.spans)
    assert spans.keys() == {f"{kind} SET", kind}
    mixed = spans[kind]
    assert (mixed.attributes or {})["db.operation.batch.size"] == 2
    assert (mixed.attributes or {})["db.query.text"] == "SET user:? ?\nGET user:?"


def test_a_pipeline_of_one_is_a_command_and_of_none_nothing(client: Any, recording: Recording) -> None:
    """One command in a pipeline is no batch, and an empty pipeline makes no call and no span."""
    client.pipeline().execute()
    client.pipeline().get("user:1").execute()
    span = recording.one()
    assert span.name == "GET"
    assert "db.operation.batch.size" not in (span.attributes or {})


def test_a_lost_optimistic_lock_is_no_error(client: Any, recording: Recording) -> None:
    """WatchError is how redis-py says "try again": the span is no failure, the exception arrives."""
    with client.pipeline() as pipeline:
        pipeline.watch("user:1")
        client.set("user:1", "changed")
        pipeline.multi()
        pipeline.set("user:1", "mine").get("user:1")
        with pytest.raises(redis.WatchError):
            pipeline.execute()
    counts = Counter(span.name for span in recording.spans)
    # not every redis-py sends the last one, which is the client's own
    assert counts - Counter(["UNWATCH"]) == Counter(["WATCH", "SET", "MULTI"])
    assert all(span.status.status_code is StatusCode.UNSET for span in recording.spans)


def test_a_long_pipeline_has_a_bounded_text(client: Any, recording: Recording) -> None:
    """Text of a pipeline ends after twenty commands; its size is told in full."""
    pipeline = client.pipeline()
    for number in range(100):
        pipeline.get(f"user:{number}")
    pipeline.execute()
    attributes = recording.one().attributes or {}
    assert str(attributes["db.query.text"]).split("\n") == ["GET user:?"] * 20 + ["..."]
    assert attributes["db.operation.batch.size"] == 100


@pytest.mark.parametrize("transaction", [True, False])
@pytest.mark.parametrize("others", [0, 30])
def test_lookups_of_pipelines_are_counted(client: Any, recording: Recording, transaction: bool, others: int) -> None:
    """Each lookup of a pipeline counts as it would by itself, also one alone, also behind many others."""
    client.set("user:1", "a")

    def lookups() -> dict[tuple[Any, Any], int]:
        points = recording.points("cache.lookups")
        return {(a["db.operation.name"], a["cache.result"]): value for a, value in points if value}

    with client.pipeline(transaction=transaction) as pipeline:
        pipeline.get("user:2")
        pipeline.execute()
    assert lookups() == {("GET", "miss"): 1}
    with client.pipeline(transaction=transaction) as pipeline:
        for number in range(others):
            pipeline.set(f"other:{number}", 1)
        pipeline.get("user:1").get("user:3").mget("user:1", "user:4", "user:5").get("user:1")
        if transaction:
            pipeline.hget("user:1", "not a hash")  # the server of these tests hangs up on errors outside of one
        replies = pipeline.execute(raise_on_error=False)
    assert replies[others : others + 3] == [b"a", None, [b"a", None, None]]
    assert lookups() == {("GET", "miss"): 2, ("GET", "hit"): 2, ("MGET", "hit"): 1, ("MGET", "miss"): 2}


def test_lookups_are_counted(client: Any, recording: Recording) -> None:
    """Hits and misses are counted by operation and key pattern, an MGET for each key."""
    client.set("user:1", "x")
    client.hset("cart:1", "a", 1)
    client.get("user:1")
    client.get("user:2")
    client.mget("user:1", "user:2", "user:3")
    client.hget("cart:1", "a")
    client.hgetall("cart:2")
    found = {
        (a["db.operation.name"], a["cache.key.pattern"], a["cache.result"]): value
        for a, value in recording.points("cache.lookups")
        if value
    }
    assert found == {
        ("GET", "user:?", "hit"): 1,
        ("GET", "user:?", "miss"): 1,
        ("MGET", "user:?", "hit"): 1,
        ("MGET", "user:?", "miss"): 2,
        ("HGET", "cart:?", "hit"): 1,
        ("HGETALL", "cart:?", "miss"): 1,
    }


def test_durations_have_no_pattern(client: Any, recording: Recording, port: int) -> None:
    """Durations are told apart by operation and error only, however many keys there are."""
    for number in range(5):
        client.get(f"user:{number}")
        client.get(f"cart:{number}")
    gets = [
        point for point in recording.points("db.client.operation.duration") if point[0]["db.operation.name"] == "GET"
    ]
    assert gets == [
        (
            {
                "db.system.name": "redis",
                "db.namespace": "3",
                "db.operation.name": "GET",
                "server.address": "127.0.0.1",
                "server.port": port,
            },
            10,
        )
    ]


def test_patterns_are_bounded(client: Any, recording: Recording) -> None:
    """However many first words keys have, only so many patterns are told apart."""
    words = [f"{chr(97 + a)}{chr(97 + b)}" for a in range(26) for b in range(26)]
    for word in words:
        client.get(f"{word}:1")
    texts = {str((span.attributes or {})["db.query.text"]) for span in recording.spans}
    assert len(texts) == 501
    assert "GET ?" in texts


def test_asynchronous_clients_and_pipelines(recording: Recording, port: int) -> None:
    """redis.asyncio makes the same spans, children of the span around them."""

    async def work() -> None:
        async with redis.asyncio.Redis(host="127.0.0.1", port=port, db=3) as client:
            with recording.tracer_provider.get_tracer("t").start_as_current_span("above"):
                await client.set("user:1", "x")
                async with client.pipeline(transaction=False) as pipeline:
                    await pipeline.get("user:1").get("user:2").execute()
                with pytest.raises(redis.ResponseError):
                    await client.lpush("user:1", 1)

    asyncio.run(work())
    spans = named(span for span in recording.spans if span.name not in {"CLIENT SETINFO", "HELLO"})
    above = spans.pop("above")
    assert spans.keys() == {"SET", "PIPELINE GET", "LPUSH"}
    assert {span.parent.span_id for span in spans.values() if span.parent} == {above.context.span_id}
    assert (spans["LPUSH"].attributes or {})["error.type"] == "ResponseError"


def test_a_cancelled_command_ends_its_span(recording: Recording) -> None:
    """A command whose task is cancelled has the cancellation as its error type, and is not said to have failed."""

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
            async with redis.asyncio.Redis(host="127.0.0.1", port=server.sockets[0].getsockname()[1]) as client:
                task = asyncio.ensure_future(client.get("user:1"))
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await asyncio.sleep(0.05)

    asyncio.run(main())
    span = recording.one()
    assert (span.attributes or {})["error.type"] == "CancelledError"
    assert span.status.is_unset


@pytest.mark.parametrize("sampler", ["always_on", "always_off"])
def test_lookups_do_not_depend_on_sampling(port: int, sampler: str) -> None:
    """Hits and misses are counted of every command."""
    recording = Recording(sampler=sampler, brief=True)
    with instrumented(RedisInstrumentation, recording), redis.Redis("127.0.0.1", port, db=5) as client:
        client.set("user:1", "x")
        for _ in range(10):
            client.get("user:1")
        client.get("user:2")
    counts = {a["cache.result"]: value for a, value in recording.points("cache.lookups") if value}
    assert counts == {"hit": 10, "miss": 1}
    assert sum(count for _, count in recording.points("db.client.operation.duration")) == 12
    assert recording.failures == []


def test_a_lookup_after_another_processor_came_is_counted_as_well(port: int) -> None:
    """Somebody who wants to look at every span takes nothing from the counts."""
    recording = Recording(brief=True)
    with instrumented(RedisInstrumentation, recording), redis.Redis("127.0.0.1", port, db=5) as client:
        client.set("user:1", "x")
        client.get("user:1")
        recording.take()
        recording.tracer_provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
        client.get("user:1")
        client.get("user:2")
    counts = {a["cache.result"]: value for a, value in recording.points("cache.lookups") if value}
    assert counts == {"hit": 2, "miss": 1}
    assert [span.name for span in recording.take()] == ["GET", "GET"]


@pytest.mark.parametrize("waits", [False, True])
def test_a_counter_that_cannot_wait_is_told_at_once(waits: bool) -> None:
    """Spans wait in the ledger, and what counts them only where it says so."""

    class Counter:
        def __init__(self) -> None:
            self.waits = waits
            self.value = 0

        def step(self, value: int) -> None:
            self.value += value

    recording, counter = Recording(brief=True), Counter()
    briefs = recording.tracer_provider.get_tracer("t").briefs("q", SpanKind.CLIENT, {}).measure(NOTHING, counter)
    for _ in range(3):
        briefs.ended(None, None, 1, 2, 0.5, 1.0)
    assert (counter.value < 3) is waits
    assert len(recording.spans) == 3
    assert counter.value == 3


def test_what_a_reply_is_made_of_does_not_matter(port: int) -> None:
    """A reply of the application's own making is a hit, however it compares."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ValueError("nobody compares this")

        __hash__ = None  # type: ignore[assignment]

    recording = Recording(brief=True)
    with instrumented(RedisInstrumentation, recording), redis.Redis("127.0.0.1", port, db=5) as client:
        client.set_response_callback("GET", lambda reply: Odd())
        client.get("user:1")
    assert [a["cache.result"] for a, value in recording.points("cache.lookups") if value] == ["hit"]
    assert recording.one().name == "GET"


def test_suppressed_and_unsampled(client: Any, recording: Recording) -> None:
    """Suppressed code is silent; durations do not depend on sampling."""
    with suppress_instrumentation():
        client.get("user:1")
    assert recording.spans == []
    quiet = Recording(sampler="always_off")
    with instrumented(RedisInstrumentation, quiet):
        client.get("user:1")
    assert quiet.spans == []
    assert [count for _, count in quiet.points("db.client.operation.duration")] == [1]


def test_uninstrumented_means_as_before() -> None:
    """`uninstrument` puts redis-py's own functions back."""
    before = redis.Redis.execute_command, redis.client.Pipeline.execute, redis.asyncio.Redis.execute_command
    with instrumented(RedisInstrumentation, Recording()) as instrumentation:
        instrumentation.instrument(redis)
        assert redis.Redis.execute_command is not before[0]
    assert (redis.Redis.execute_command, redis.client.Pipeline.execute, redis.asyncio.Redis.execute_command) == before


def test_contribs_hooks_are_called(port: int) -> None:
    """Hooks given to `RedisInstrumentor` run on our span; one that raises does no harm; a silenced client is silent."""
    contrib = importlib.import_module("opentelemetry.instrumentation.redis")
    recording = Recording()

    def before(span: Any, instance: Any, args: Any, kwargs: Any) -> None:
        span.set_attribute("hook.command", args[0])
        span.start_time -= 3_600_000_000_000  # as if the wall clock had been set forwards by an hour

    def after(span: Any, instance: Any, response: Any) -> None:
        raise ValueError("a hook's own mistake")

    with instrumented(RedisInstrumentation, recording) as instrumentation:
        instrumentation.instrument(contrib)
        contrib.RedisInstrumentor().instrument(request_hook=before, response_hook=after)
        with redis.Redis("127.0.0.1", port) as client, redis.Redis("127.0.0.1", port) as silent:
            client.get("user:1")
            contrib.RedisInstrumentor.uninstrument_client(silent)
            silent.get("user:1")
    (span,) = [span for span in recording.spans if span.name == "GET"]
    assert (span.attributes or {})["hook.command"] == "GET"
    assert span.end_time - span.start_time < 600_000_000_000
    assert recording.failures == ["redis hook: ValueError: a hook's own mistake"]


@pytest.mark.skipif(not hasattr(redis, "observability"), reason="this redis-py has no metrics of its own")
def test_native_metrics_are_not_doubled(port: int) -> None:
    """When redis-py's own durations are switched on, ours stop and the spans stay."""
    config = importlib.import_module("redis.observability.config")
    providers = importlib.import_module("redis.observability.providers")
    recording = Recording()
    with instrumented(RedisInstrumentation, recording), redis.Redis("127.0.0.1", port) as client:
        client.get("user:1")
        instance = providers.ObservabilityInstance()
        instance.init(config.OTelConfig(metric_groups=[config.MetricGroup.COMMAND]))
        client.get("user:1")
    assert len([span for span in recording.spans if span.name == "GET"]) == 2
    (count,) = [n for a, n in recording.points("db.client.operation.duration") if a["db.operation.name"] == "GET"]
    assert count == 1


def with_code(error: Exception, code: str | None) -> Exception:
    """An exception as redis-py makes it from 7.2 on."""
    error.status_code = code  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (redis.ResponseError("WRONGTYPE Operation against a key"), "WRONGTYPE"),
        (redis.ResponseError("unknown command"), None),
        (redis.ResponseError("Command # 1 (SET a b) of pipeline caused error"), None),
        (redis.ConnectionError(""), None),
        (redis.ResponseError("EXEC without MULTI"), None),
        (redis.exceptions.RedisClusterException("MGET - all keys must map to the same key slot"), None),
        (with_code(redis.ResponseError("EXEC without MULTI"), "ERR"), "ERR"),
        (with_code(redis.ResponseError("No matching script"), "NOSCRIPT"), "NOSCRIPT"),
        (with_code(redis.ResponseError("WRONGTYPE Operation against a key"), None), "WRONGTYPE"),
    ],
)
def test_redis_prefixes_are_status_codes(error: Exception, expected: str | None) -> None:
    """Only the prefix of a simple error is a status code: no command's name, and one that redis-py took away, too."""
    assert status_code(error) == expected


@pytest.mark.parametrize(
    ("args", "name", "key", "parts"),
    [
        (("SET user:joe@x.com s3cret",), "SET", "user:joe@x.com", 3),
        (("get", "user:1"), "GET", "user:1", 2),
        (("AUTH hunter2",), "AUTH", None, 2),
        (("CLIENT SETINFO", "LIB-NAME", "x"), "CLIENT SETINFO", None, 3),
        (("CONFIG", "get", "*"), "CONFIG GET", None, 2),
        ((b"PING",), "PING", None, 1),
        (("DELEX", "user:1", "IFEQ", "s3cret"), "DELEX", "user:1", 4),
        (("VSIM", "user:1", "ELE", "s3cret"), "VSIM", "user:1", 4),
        (("HIMPORT SET", "user:1", "fields", "s3cret"), "HIMPORT SET", None, 4),
        (("secret-as-a-command!",), "OTHER", None, 1),
        (("",), "OTHER", None, 1),
    ],
)
def test_only_a_name_becomes_a_name(args: tuple[object, ...], name: str, key: str | None, parts: int) -> None:
    """redis-py splits a whole line given as a command; keys and values in it are no operation's name."""
    assert plain(args) == (name, key, parts)


@pytest.mark.parametrize(("looks_up", "makers"), [(0, 1), (1, 2), (2, 1)])
def test_an_operation_is_met_in_one_step(looks_up: int, makers: int) -> None:
    """A thread that comes while another one meets an operation finds all of what makes its spans, or nothing."""
    operation = RedisOperation("GET", {}, None, False)
    operation.looks_up = looks_up
    met: list[object] = []

    class Maker:
        def measure(self, *_: object) -> Maker:
            met.append(operation.met)
            return self

    class Tracer:
        def briefs(self, *_: object) -> Maker:
            return Maker()

    found, missed = operation.meet(Tracer())  # type: ignore[arg-type]  # what is asked of one
    assert met == [None] * makers
    assert operation.met == (found, missed)
    assert (found is missed) == (makers == 1)


def test_every_way_in_is_found_in_the_newest_redis_py() -> None:
    """A method that a release renames turns this red, and not telemetry silent."""
    if int(redis.__version__.partition(".")[0]) < 8:
        pytest.skip("earlier versions have fewer")
    with instrumented(RedisInstrumentation, Recording()) as instrumentation:
        assert len(instrumentation._clients._replaced) == 12
