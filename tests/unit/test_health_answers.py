"""What the health paths answer: status codes, bodies, and to whom how much."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from otel_distro.health import Degraded
from tests.health_rig import HERE, HealthRig

PATHS = ("/live", "/health", "/ready", "/health/detailed", "/api/health")


def ask(rig: HealthRig, path: str, method: str = "GET", **more: Any) -> tuple[int, Any]:
    return asyncio.run(rig.ask(path, method, **more))


def fails() -> None:
    raise ConnectionRefusedError("refused")


def limps() -> None:
    raise Degraded("replica is behind")


def codes(rig: HealthRig) -> list[int]:
    return [ask(rig, path)[0] for path in PATHS]


def test_a_process_without_checks_is_ready() -> None:
    """Nothing to check means nothing can be wrong."""
    assert codes(HealthRig()) == [200, 200, 200, 200, 200]


def test_a_critical_dependency_makes_the_process_not_ready_and_not_dead() -> None:
    """Liveness and the basic answer stay 200, or an orchestrator would restart what a restart does not help."""
    rig = HealthRig()
    rig.check("database", fails)
    assert codes(rig) == [200, 200, 503, 503, 503]
    assert [ask(rig, path)[1]["status"] for path in PATHS[:4]] == ["alive", "healthy", "not ready", "unhealthy"]


@pytest.mark.parametrize(("function", "critical"), [(fails, False), (limps, True)])
def test_what_only_degrades_leaves_the_process_ready(function: Any, critical: bool) -> None:
    """A dependency that is not critical, or works badly, is told and takes nobody out of the rotation."""
    rig = HealthRig()
    rig.check("fine", lambda: True)
    rig.check("cache", function, critical=critical)
    assert codes(rig) == [200, 200, 200, 200, 200]
    assert ask(rig, "/health/detailed")[1] == {"status": "degraded"}


@pytest.mark.parametrize("phase", ["starting", "draining"])
def test_a_process_that_starts_or_drains_is_alive_and_not_ready(phase: str) -> None:
    """Both phases take the process out of the rotation, whatever the checks say."""
    rig = HealthRig()
    rig.check("fine", lambda: None)
    release = rig.health.lifecycle.hold("loading the model")
    if phase == "draining":
        rig.health.lifecycle.drain()
    assert codes(rig) == [200, 200, 503, 503, 503]
    assert ask(rig, "/ready")[1] == {"status": phase}
    release()
    release()
    assert codes(rig)[2] == (200 if phase == "starting" else 503)


def test_details_name_each_check_with_its_latency() -> None:
    """From this machine: version, environment, uptime, and status, latency and reason of each check."""
    rig = HealthRig(attributes={"service.version": "1.4.0", "deployment.environment.name": "production"})
    rig.check("database", lambda: {"rows": 3})
    rig.check("cache", fails, critical=False)
    _, body = ask(rig, "/api/health", **HERE)
    assert (body["version"], body["environment"], body["phase"]) == ("1.4.0", "production", "running")
    assert body["uptime_seconds"] >= 0
    database, cache = body["checks"]["database"], body["checks"]["cache"]
    assert (database["status"], database["critical"], database["details"]) == ("up", True, {"rows": 3})
    assert database["latency_ms"] >= 0
    assert (cache["status"], cache["error"]) == ("down", "ConnectionRefusedError: refused")


def test_a_start_says_what_it_waits_for() -> None:
    """The details of a starting process name what holds it."""
    rig = HealthRig()
    rig.health.lifecycle.hold("loading the model")
    assert ask(rig, "/ready", **HERE)[1]["waiting_for"] == ["loading the model"]


ELSEWHERE = ("192.0.2.7", 40_000)
LOOPBACK = ("127.0.0.1", 40_000)
REFUSED = {
    "another machine": (ELSEWHERE, {"host": "localhost"}),
    "a proxy's X-Forwarded-For": (LOOPBACK, {"host": "localhost", "X-Forwarded-For": "127.0.0.1"}),
    "a proxy's X-Forwarded-Proto": (LOOPBACK, {"host": "localhost", "x-forwarded-proto": "https"}),
    "Forwarded": (LOOPBACK, {"host": "localhost", "forwarded": "for=127.0.0.1"}),
    "Via": (LOOPBACK, {"host": "localhost", "via": "1.1 proxy"}),
    "X-Real-IP": (LOOPBACK, {"host": "localhost", "x-real-ip": "127.0.0.1"}),
    "a name that was bound to this machine": (LOOPBACK, {"host": "evil.example:8000"}),
    "a Unix socket": (None, {"host": "localhost"}),
    "a client that is no address": (("testclient", 1), {"host": "localhost"}),
}


@pytest.mark.parametrize(("client", "headers"), REFUSED.values(), ids=REFUSED)
def test_strangers_get_the_status_and_nothing_else(client: Any, headers: dict[str, str]) -> None:
    """Without a token, only a request that comes straight from this machine sees details."""
    rig = HealthRig(attributes={"service.version": "1.4.0"})
    rig.check("database", fails)
    for path in PATHS:
        assert ask(rig, path, client=client, headers=headers)[1].keys() == {"status"}, path


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_sees_details_under_each_of_its_names(host: str, address: str) -> None:
    """IPv4, IPv6, and IPv4 through an IPv6 socket."""
    rig = HealthRig()
    assert "checks" in ask(rig, "/ready", client=(address, 1), headers={"host": host})[1]


def test_a_token_opens_from_anywhere_and_replaces_loopback() -> None:
    """With a token set, who has it sees details, who has not does not, be it on this machine."""
    rig = HealthRig({"OTEL_DISTRO_HEALTH_TOKEN": "s3cret-tokén"})
    good = {"authorization": b"Bearer s3cret-tok\xc3\xa9n".decode("latin-1")}
    assert "checks" in ask(rig, "/ready", client=ELSEWHERE, headers=good)[1]
    for header in ("Bearer wrong", "Bearer ", "Basic s3cret", ""):
        assert ask(rig, "/ready", client=LOOPBACK, headers={"host": "localhost", "authorization": header})[
            1
        ].keys() == {"status"}


SECRET = "hunter2hunter2"
LEAKS = {
    "url": f"could not connect to postgresql://joe:{SECRET}@db/x",
    "query": f"GET https://api.example/v1?token={SECRET} failed",
    "pair": f"login failed, password={SECRET}",
    "header": f"refused: Authorization: Bearer {SECRET}",
    "scheme": f"sent Bearer {SECRET} and got 403",
    "key": f"invalid key sk-{SECRET}",
    "statement": f"boom\n[SQL: SELECT 1 WHERE x='{SECRET}']\n[parameters: ('{SECRET}',)]",
}


@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS)
def test_details_and_lines_hold_no_secrets(text: str) -> None:
    """What an exception or a mapping says is shown, and logged, without its credentials."""
    rig = HealthRig()

    def raises() -> None:
        raise RuntimeError(text)

    rig.check("raises", raises)
    rig.check("tells", lambda: {"note": text})
    _, body = ask(rig, "/health/detailed", **HERE)
    assert "RuntimeError" in body["checks"]["raises"]["error"]
    assert SECRET not in str(body)
    assert len(rig.lines) == 1
    assert SECRET not in rig.lines[0]


def test_head_answers_without_a_body_and_other_methods_are_refused() -> None:
    """GET and HEAD only, and never cached."""

    async def both() -> None:
        rig = HealthRig()
        assert await rig.ask("/ready", "HEAD") == (200, None)
        assert (await rig.ask("/ready", "POST"))[0] == 405

    asyncio.run(both())


def test_paths_are_configurable() -> None:
    """Each question has the paths that the settings give it, or none."""
    rig = HealthRig({"OTEL_DISTRO_HEALTH_READY_PATHS": "/readyz,/-/ready", "OTEL_DISTRO_HEALTH_LIVE_PATHS": "none"})
    assert set(rig.health.routes()) == {"/readyz", "/-/ready", "/health", "/health/detailed", "/api/health"}


def test_a_path_answers_what_was_set_for_it_before_any_default() -> None:
    """`/health` as the readiness probe runs the checks, though it is the default of an answer that runs none."""
    rig = HealthRig({"OTEL_DISTRO_HEALTH_READY_PATHS": "/health"})
    rig.check("database", fails)
    assert ask(rig, "/health") == (503, {"status": "not ready"})
    assert rig.health.options.basic_paths == ()


def test_a_critical_name_that_no_check_has_is_said_once() -> None:
    """A misspelt one would leave the process ready whatever fails; kinds may be named in vain."""
    rig = HealthRig({"OTEL_DISTRO_HEALTH_CRITICAL": "databse,redis"})
    rig.check("database", fails, critical=None)
    assert [ask(rig, "/ready")[0] for _ in range(2)] == [200, 200]
    (line,) = (line for line in rig.lines if "CRITICAL" in line)
    assert line == ("OTEL_DISTRO_HEALTH_CRITICAL names databse, and so far no check is called so; there are: database")
