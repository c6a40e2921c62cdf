"""One variable switches each group of metrics."""

from __future__ import annotations

import pytest
from opentelemetry.metrics import CallbackOptions, Observation

from otel_distro import settings
from otel_distro.metrics.groups import Groups, group_of
from otel_distro.settings import METRIC_GROUPS
from tests.metrics_rig import Setup

NAME = "OTEL_DISTRO_METRICS_GROUPS"
REDIS = "otel_distro.instrumentation.redis"


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("", set()),
        ("all", set()),
        ("-runtime", {"runtime"}),
        ("all, -runtime,-HTTP_Sizes", {"runtime", "http-sizes"}),
        ("own,pools", set(METRIC_GROUPS) - {"own", "pools"}),
        ("own,pools,-own", set(METRIC_GROUPS) - {"pools"}),
        ("none", set(METRIC_GROUPS)),
    ],
)
def test_names_keep_and_a_minus_leaves_out(text: str, left_out: set[str]) -> None:
    """Names alone keep these only, names with a minus leave these out of the others."""
    parsed, problems = settings.parse({NAME: text})
    assert set(METRIC_GROUPS) - set(parsed.metric_groups.enabled) == left_out
    assert not problems


@pytest.mark.parametrize(
    ("text", "enabled", "meant"),
    [
        ("runtme", set(METRIC_GROUPS), "runtime"),
        ("own,runtme", {"own"}, "runtime"),
        ("-runtme,-own", set(METRIC_GROUPS) - {"own"}, "-runtime"),
    ],
)
def test_an_unknown_group_is_named_once_with_what_was_meant(text: str, enabled: set[str], meant: str) -> None:
    """What is left of the list counts; a list of unknown names alone counts as unset; a minus stays a minus."""
    parsed, problems = settings.parse({NAME: text})
    assert set(parsed.metric_groups.enabled) == enabled
    assert len(problems) == 1
    assert f"did you mean {meant!r}?" in str(problems[0])


def test_groups_without_effect_are_named() -> None:
    """Upstream's pipeline knows no groups, and whoever sets them is told."""
    _, problems = settings.parse({NAME: "-runtime", "OTEL_DISTRO_PIPELINE": "upstream"})
    (problem,) = problems
    assert (problem.variable, problem.leave) == (NAME, True)
    assert not settings.parse({"OTEL_DISTRO_PIPELINE": "upstream"})[1]


@pytest.mark.parametrize(
    ("scope", "name", "group"),
    [
        ("otel_distro.instrumentation.fastapi", "http.server.request.duration", "http-server"),
        ("otel_distro.instrumentation.fastapi", "http.server.request.body.size", "http-sizes"),
        ("otel_distro.instrumentation.httpx", "http.client.request.duration", "http-client"),
        ("otel_distro.instrumentation.sqlalchemy", "db.client.operation.duration", "database"),
        (REDIS, "db.client.operation.duration", "redis"),
        (REDIS, "db.client.connection.count", "pools"),
        (REDIS, "cache.lookups", "cache"),
        ("otel_distro.runtime", "process.cpu.time", "runtime"),
        ("otel_distro.runtime", "otel_distro.process.count", "runtime"),
        ("otel_distro.own", "otel.sdk.exporter.span.exported", "own"),
        ("opentelemetry.instrumentation.aiohttp_client", "http.client.request.duration", "http-client"),
        ("shop", "http.server.request.duration", None),
        ("otel_distro.measure", "process.orders", None),
        ("otel_distro.instrumentation.fastapi", "something.new", None),
    ],
)
def test_an_instrument_is_in_the_group_of_its_name(scope: str, name: str, group: str | None) -> None:
    """The distro's and contrib's instruments are in groups, an application's own in none."""
    assert group_of(scope, name) == group
    assert group is None or group in METRIC_GROUPS


def test_a_group_that_is_off_has_no_instruments() -> None:
    """Its instruments take measurements and forget them, its callbacks are never called, others are as ever."""
    called: list[None] = []

    def callback(_: CallbackOptions) -> list[Observation]:
        called.append(None)
        return []

    setup = Setup(wants=Groups(set(METRIC_GROUPS) - {"redis", "runtime"}).wants)
    redis, runtime = setup.provider.get_meter(REDIS), setup.provider.get_meter("otel_distro.runtime")
    redis.create_histogram("db.client.operation.duration").record(1)
    redis.create_histogram("db.client.operation.duration").record(1, {"a": "b"})
    redis.create_counter("cache.lookups").add(1)
    runtime.create_observable_counter("process.cpu.time", [callback])
    setup.meter.create_counter("process.cpu.mine").add(1)
    assert set(setup.metrics()) == {"cache.lookups", "process.cpu.mine"}
    assert not called


def test_the_process_is_not_measured_twice() -> None:
    """Contrib's instruments of the process step aside for the runtime group, its instruments of the host never do."""
    scope = "opentelemetry.instrumentation.system_metrics"
    both, contrib_alone = Groups(METRIC_GROUPS), Groups(set(METRIC_GROUPS) - {"runtime"})
    assert not both.wants(scope, "process.cpu.time")
    assert both.wants(scope, "system.cpu.time")
    assert contrib_alone.wants(scope, "process.cpu.time")
