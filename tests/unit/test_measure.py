"""The metrics an application makes by itself: exact, bounded, and never its problem."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Generator
from enum import Enum
from typing import Any

import pytest
from opentelemetry import metrics

from otel_distro.measure import OTHER, Counter, Distribution, Gauge, ModelCalls, Quota, observe, timed
from otel_distro.measure import _labels as labels_module
from otel_distro.measure._instruments import Cache
from otel_distro.measure._labels import Bounded, text_of
from tests.metrics_rig import Setup


def by(setup: Setup, name: str, *labels: str) -> dict[Any, Any]:
    """Values (histograms: counts) by the values of these labels."""
    data = setup.metrics()[name]
    return {
        tuple(p.attributes.get(label) for label in labels): getattr(p, "value", None)
        if hasattr(p, "value")
        else p.count
        for p in data.data_points
    }


class Plan(Enum):
    PRO = "pro"


class Broken:
    def __str__(self) -> str:
        raise ValueError("no text")


# --- counters, gauges, distributions ---------------------------------------------------------------------------------


def test_a_counter_counts_by_label(setup: Setup) -> None:
    """One is the amount unless another is given, and equal labels are one series whatever their order or type."""
    spent = Counter("credits", unit="{credit}", description="Credits.", meter=setup.meter)
    spent.add(plan="pro", fast="true")
    spent.add(4, fast=True, plan=Plan.PRO)
    spent.add(0.5, plan="free", fast=None)
    assert by(setup, "credits", "plan", "fast") == {("pro", "true"): 5, ("free", None): 0.5}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "a"), (True, "true"), (1, "1"), (1.5, "1.5"), (Plan.PRO, "pro"), (None, None), (Broken(), OTHER)],
)
def test_a_label_is_recorded_as_text(value: Any, expected: str | None) -> None:
    """What has no text is `_OTHER`, what is None is left out."""
    assert text_of(value) == expected


def test_true_and_one_are_two_labels(setup: Setup) -> None:
    """Python's equal keys do not become one series."""
    counter = Counter("c", meter=setup.meter)
    for value in (True, 1, 1.0, "1"):
        counter.add(kind=value)
    assert by(setup, "c", "kind") == {("true",): 1, ("1",): 2, ("1.0",): 1}


def test_a_gauge_holds_the_newest_value(setup: Setup) -> None:
    """Setting again replaces."""
    users = Gauge("users", meter=setup.meter)
    users.set(5, workspace="a")
    users.set(3, workspace="a")
    assert by(setup, "users", "workspace") == {("a",): 3}


def test_a_distribution_has_the_buckets_that_were_asked_for(setup: Setup) -> None:
    """Bounds are the application's."""
    results = Distribution("results", buckets=[1, 10], meter=setup.meter)
    results.record(5)
    results.record(50)
    (point,) = setup.metrics()["results"].data_points
    assert (point.explicit_bounds, list(point.bucket_counts)) == ((1, 10), [0, 1, 1])


def test_a_quota_shows_what_is_used_and_what_is_left(setup: Setup) -> None:
    """Both are of the same moment and have the same labels."""
    quota = Quota("ga4.quota", unit="{token}", meter=setup.meter)
    quota.set(used=850, limit=1000, property="web")
    assert by(setup, "ga4.quota.used", "property") == {("web",): 850}
    assert by(setup, "ga4.quota.remaining", "property") == {("web",): 150}


def test_caches_count_hits_and_misses(setup: Setup) -> None:
    """A cache without instrumentation is in the metric of those that have one."""
    for name in ("a", "b"):
        cache = Cache(name, meter=setup.meter)
        cache.hit()
        cache.hit(2)
        cache.miss()
    found = by(setup, "cache.lookups", "cache.name", "cache.result")
    assert found == {("a", "hit"): 3, ("a", "miss"): 1, ("b", "hit"): 3, ("b", "miss"): 1}


def test_values_are_read_when_somebody_collects() -> None:
    """One value or several by label; a reader that fails costs its own metric only."""
    setup = Setup()
    sizes = {"a": 1.0, "b": 2.0}
    observe("cache.size", lambda: sizes, label="cache", unit="By", meter=setup.meter)
    observe("queue.length", lambda: 7, shared=True, meter=setup.meter)
    observe("broken", lambda: 1 / 0, meter=setup.meter)
    sizes["b"] = 5.0
    assert by(setup, "cache.size", "cache") == {("a",): 1, ("b",): 5}
    assert by(setup, "queue.length") == {(): 7}
    assert "broken" not in setup.metrics()
    assert len(setup.lines) == 1


# --- labels ----------------------------------------------------------------------------------------------------------


def test_a_users_id_cannot_explode_a_metric() -> None:
    """The first values are kept, all further ones are `_OTHER`, nothing is lost, and it is said once."""
    setup = Setup()
    counter = Counter("c", most=10, meter=setup.meter)
    for number in range(1000):
        counter.add(user=str(number), plan="pro")
        counter.add(user=number, plan="pro")
    found = by(setup, "c", "user", "plan")
    assert len(found) == 11
    assert found["_OTHER", "pro"] == 1980
    assert sum(found.values()) == 2000
    assert len(setup.lines) == 1
    assert "'user'" in setup.lines[0]
    assert len(counter._bounded._known) <= 11


def test_names_of_labels_are_bounded_too(setup: Setup) -> None:
    """Whoever makes names up as well gets sixteen of them."""
    counter = Counter("c", meter=setup.meter)
    for number in range(100):
        counter.add(**{f"name{number}": "x"})
    points = setup.metrics()["c"].data_points
    assert len(points) == 17
    assert sum(p.value for p in points) == 100


def test_what_is_remembered_is_bounded() -> None:
    """Combinations of labels may be many where their values are few; they are counted all the same."""
    setup = Setup()
    counter = Counter("c", meter=setup.meter)
    for first in range(50):
        for second in range(50):
            for third in range(2):
                counter.add(a=str(first), b=str(second), c=str(third))
    assert len(counter._bounded._known) == labels_module._REMEMBERED < 5000
    assert sum(p.value for p in setup.metrics()["c"].data_points) == 5000


def test_threads_lose_no_count(setup: Setup) -> None:
    """Adding from several threads at once is exact, also while labels are new."""
    counter = Counter("c", meter=setup.meter)

    def work() -> None:
        for number in range(2000):
            counter.add(kind=str(number % 40))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(by(setup, "c", "kind").values()) == {200}


@pytest.mark.parametrize("amount", ["x", None, -1, float("nan"), object()])
def test_an_impossible_amount_is_said_and_nothing_is_raised(amount: Any) -> None:
    """What cannot be counted is a line, once, and the counter goes on."""
    setup = Setup()
    counter = Counter("c", meter=setup.meter)
    for _ in range(3):
        counter.add(amount, kind="a")
    counter.add(2, kind="a")
    assert by(setup, "c") == {(): 2}
    assert len(setup.lines) == 1


@pytest.mark.parametrize("amount", ["x", None, [], object(), 1j])
def test_the_line_about_what_is_no_number_says_so(amount: Any) -> None:
    """It names the metric, the type and a remedy, of the API's instruments as well; the value may be a secret."""
    setup = Setup()
    Counter("mine", meter=setup.meter).add(amount)
    setup.meter.create_counter("api").add(amount)
    kind = type(amount).__name__
    assert [f"given a {kind}, which is no int or float (convert it;" in line for line in setup.lines] == [True, True]
    assert ["mine" in setup.lines[0], "api" in setup.lines[1]] == [True, True]


@pytest.mark.parametrize(("used", "limit"), [("850", 1000), (850, None), (None, None)])
def test_a_quota_of_no_numbers_raises_nothing(used: Any, limit: Any) -> None:
    """The difference is not the application's problem either."""
    setup = Setup()
    Quota("q", meter=setup.meter).set(used=used, limit=limit)
    assert any("q.remaining" in line for line in setup.lines)


def test_an_exemplar_names_the_current_span() -> None:
    """A measurement inside a sampled span can be followed to its trace."""
    from opentelemetry.trace import use_span

    from tests.metrics_rig import span

    setup = Setup()
    counter = Counter("c", meter=setup.meter)
    with use_span(span(42)):
        counter.add(kind="a")
    (point,) = setup.metrics()["c"].data_points
    assert [exemplar.span_id for exemplar in point.exemplars] == [42]


# --- timings ---------------------------------------------------------------------------------------------------------


def outcomes(setup: Setup, name: str = "call.duration") -> dict[Any, Any]:
    return by(setup, name, "outcome", "error.type")


def test_a_block_is_timed_with_its_outcome(setup: Setup) -> None:
    """Success, failure with the exception's class, or what the application says; the exception goes on."""
    call = timed("call", meter=setup.meter)
    with call(kind="a"):
        pass
    with pytest.raises(KeyError), call(kind="a"):
        raise KeyError("x")
    with call(kind="a") as timing:
        timing.outcome = "rejected"
        timing.label(kind="b")
    found = by(setup, "call.duration", "kind", "outcome", "error.type")
    assert found == {("a", "success", None): 1, ("a", "failure", "KeyError"): 1, ("b", "rejected", None): 1}


def test_a_cancelled_call_did_not_fail(setup: Setup) -> None:
    """A coroutine that is cancelled is `cancelled`, with the reason's class."""

    @timed("call", meter=setup.meter)
    async def work() -> None:
        await asyncio.sleep(30)

    async def main() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(work(), 0.01)

    asyncio.run(main())
    assert outcomes(setup) == {("cancelled", "asyncio.exceptions.CancelledError"): 1}


def test_functions_are_timed_and_stay_what_they_are(setup: Setup) -> None:
    """Name, signature, kind and result are the function's; labels come from its arguments where that is asked for."""

    @timed("call", labels={"layer": "db"}, labels_of=lambda kind, number=0: {"kind": kind}, meter=setup.meter)
    def plain(kind: str, number: int = 0) -> int:
        """What it does."""
        return number + 1

    @timed("call", meter=setup.meter)
    async def coroutine(number: int) -> int:
        await asyncio.sleep(0)
        return number

    assert plain("a", number=4) == 5
    assert asyncio.run(coroutine(7)) == 7
    assert (plain.__name__, plain.__doc__, list(inspect.signature(plain).parameters)) == (
        "plain",
        "What it does.",
        ["kind", "number"],
    )
    assert inspect.iscoroutinefunction(coroutine)
    assert by(setup, "call.duration", "layer", "kind", "outcome") == {
        ("db", "a", "success"): 1,
        (None, None, "success"): 1,
    }


def test_labels_that_cannot_be_made_cost_no_call() -> None:
    """A function for labels that raises is counted and said; the call runs and is timed."""
    setup = Setup()

    @timed("call", labels_of=lambda: {"a": 1 / 0}, meter=setup.meter)
    def work() -> str:
        return "done"

    assert work() == "done"
    assert outcomes(setup) == {("success", None): 1}
    assert len(setup.lines) == 1


def test_generators_are_timed_to_their_end(setup: Setup) -> None:
    """Values, sent values, results and errors pass; one that is left early is cancelled."""

    @timed("call", meter=setup.meter)
    def numbers() -> Generator[Any, Any, str]:
        got = yield 1
        yield got
        return "end"

    generator: Any = numbers()
    assert (next(generator), generator.send("x")) == (1, "x")
    with pytest.raises(StopIteration, match="end"):
        next(generator)
    early: Any = numbers()
    next(early)
    early.close()
    assert inspect.isgeneratorfunction(numbers)
    assert outcomes(setup) == {("success", None): 1, ("cancelled", "GeneratorExit"): 1}


def test_asynchronous_generators_are_timed_to_their_end(setup: Setup) -> None:
    """Sent values and errors reach the inner one, it is closed in time, and its end is the outcome."""
    closed: list[str] = []

    @timed("call", meter=setup.meter)
    async def events(name: str) -> AsyncIterator[Any]:
        try:
            got = yield 1
            try:
                yield got
            except KeyError:
                yield "caught"
        finally:
            closed.append(name)

    async def main() -> None:
        assert [value async for value in events("whole")] == [1, None]
        talking: Any = events("talking")
        assert await anext(talking) == 1
        assert await talking.asend("x") == "x"
        assert await talking.athrow(KeyError()) == "caught"
        await talking.aclose()
        failing: Any = events("failing")
        await anext(failing)
        with pytest.raises(ValueError, match="mine"):
            await failing.athrow(ValueError("mine"))

    asyncio.run(main())
    assert inspect.isasyncgenfunction(events)
    assert closed == ["whole", "talking", "failing"]
    assert outcomes(setup) == {("success", None): 1, ("cancelled", "GeneratorExit"): 1, ("failure", "ValueError"): 1}


def test_calls_under_way_are_counted(setup: Setup) -> None:
    """A call that runs is one, whatever labels are added to it meanwhile; one that failed runs no more."""
    call = timed("call", active=True, meter=setup.meter)
    with call(provider="a") as timing:
        timing.label(provider="b", status="x")
        assert by(setup, "call.active", "provider") == {("a",): 1}
    with contextlib.suppress(ValueError), call(provider="a"):
        raise ValueError
    assert by(setup, "call.active", "provider") == {("a",): 0}


def test_a_name_is_taken_with_and_without_its_ending(setup: Setup) -> None:
    """`call` and `call.duration` are the same metric."""
    with timed("call", meter=setup.meter)(), timed("call.duration", meter=setup.meter)():
        pass
    assert outcomes(setup) == {("success", None): 2}


# --- models ----------------------------------------------------------------------------------------------------------


def test_a_models_call_shows_duration_tokens_and_cost(setup: Setup) -> None:
    """The conventions' names and labels; parts of a stream are added up, a failure has its class."""
    claude = ModelCalls("anthropic", meter=setup.meter)
    with claude("opus", agent="coach") as call:
        call.tokens(input=500, cost=0.25)
        call.tokens(output=300)
    with pytest.raises(TimeoutError), claude("opus", agent="coach"):
        raise TimeoutError
    labels = ("gen_ai.provider.name", "gen_ai.operation.name", "gen_ai.request.model", "agent")
    same = ("anthropic", "chat", "opus", "coach")
    durations = by(setup, "gen_ai.client.operation.duration", *labels, "error.type")
    assert durations == {(*same, None): 1, (*same, "TimeoutError"): 1}
    tokens = setup.metrics()["gen_ai.client.token.usage"].data_points
    assert {p.attributes["gen_ai.token.type"]: p.sum for p in tokens} == {"input": 500, "output": 300}
    assert by(setup, "otel_distro.model.cost", *labels) == {same: 0.25}


# --- without the distro ----------------------------------------------------------------------------------------------

ALONE = """
import asyncio, sys
import otel_distro
assert not any(name.startswith("opentelemetry") for name in sys.modules)
from otel_distro import Cache, Counter, Distribution, Gauge, ModelCalls, Quota, observe, timed
assert not any(name.startswith("opentelemetry.sdk") for name in sys.modules)
for user in range(200):
    Counter("c").add(user=user)
Gauge("g").set(1); Distribution("d").record(1); Quota("q").set(used=1, limit=2); Cache("x").hit()
observe("o", lambda: 1)
@timed("t")
async def work():
    with ModelCalls("p")("m") as call:
        call.tokens(input=1)
    return 5
assert asyncio.run(work()) == 5
assert not any(name.startswith("opentelemetry.sdk") for name in sys.modules)
"""


def test_without_the_distro_nothing_happens() -> None:
    """The same code runs in a test suite or a script without any SDK: no metric, no line, no import of one."""
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_sdk_gets_the_same_numbers() -> None:
    """Upstream's provider is served by the API alone, labels bounded as ever."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter: metrics.Meter = provider.get_meter("x")
    counter = Counter("c", most=2, meter=meter)
    for number in range(5):
        counter.add(2, n=number)
    with timed("t", meter=meter)():
        pass
    data: Any = reader.get_metrics_data()
    found = {m.name: m.data.data_points for m in data.resource_metrics[0].scope_metrics[0].metrics}
    assert {p.attributes["n"]: p.value for p in found["c"]} == {"0": 2, "1": 2, "_OTHER": 6}
    assert [p.attributes["outcome"] for p in found["t.duration"]] == ["success"]
    assert isinstance(counter._bounded, Bounded)
    provider.shutdown()
