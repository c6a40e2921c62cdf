"""Sentry's answers: how long no spans may be sent, and which backends take none."""

from __future__ import annotations

import pytest

from otel_distro.guard import Guard
from otel_distro.otlp._batch import Encoded
from otel_distro.otlp.answer import Result
from otel_distro.otlp.endpoint import Proxies
from otel_distro.sentry.limits import LONGEST, Limits
from otel_distro.sentry.spans import SentrySender
from otel_distro.sentry.stamp import Stamp
from otel_distro.settings.dsn import parse_dsn


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"x-sentry-rate-limits": "60:span:organization"}, 60),
        ({"x-sentry-rate-limits": "60:transaction;span:key"}, 60),
        ({"x-sentry-rate-limits": "60::organization"}, 60),
        ({"x-sentry-rate-limits": "60:error:organization"}, 0),
        ({"x-sentry-rate-limits": "10:span:key, 700::organization, 900:log_item"}, 700),
        ({"x-sentry-rate-limits": "nonsense, :::"}, 0),
        ({}, 0),
    ],
)
def test_limits_count_whatever_the_status(headers: dict[str, str], wait: float) -> None:
    """A limit that names spans, or everything, counts also on an answer that took the request."""
    limits = Limits(Clock())
    assert limits.read(200, headers, b"").result is Result.ACCEPTED
    assert limits.left() == wait


@pytest.mark.parametrize(("headers", "wait"), [({"retry-after": "3600"}, 3600), ({}, 60), ({"retry-after": "x"}, 60)])
def test_too_many_requests_wait_as_long_as_asked(headers: dict[str, str], wait: float) -> None:
    """A 429 waits in full, a minute where it does not say how long, and can be sent again afterwards."""
    clock = Clock()
    limits = Limits(clock)
    answer = limits.read(429, headers, b"")
    assert (answer.result, answer.retry_after) == (Result.RETRY, wait)
    assert limits.left() == wait
    clock.now += wait
    assert limits.left() == 0


@pytest.mark.parametrize("header", ["retry-after", "x-sentry-rate-limits"])
@pytest.mark.parametrize("asked", ["1e9", "99999999999", "1e300", "inf"])
def test_no_limit_lasts_for_ever(header: str, asked: str) -> None:
    """Whatever Sentry asks for, it is asked again after a day, by the answer's own wait as well."""
    limits = Limits(Clock())
    answer = limits.read(429, {header: asked}, b"")
    assert limits.left() == LONGEST
    assert answer.retry_after == LONGEST


@pytest.mark.parametrize("status", [403, 404, 405])
def test_a_backend_without_otlp_is_left_alone(status: int) -> None:
    """An answer without a status switches a sender off; its text names the remedy."""
    answer = Limits(Clock()).read(status, {}, b"")
    assert (answer.result, answer.status) == (Result.REFUSED, None)
    assert "OTEL_DISTRO_SENTRY_SPANS=envelope" in answer.message


@pytest.mark.parametrize("way", ["the application's thread", "the sender's thread"])
def test_what_cannot_be_encoded_is_counted_for_the_collector_alone(way: str) -> None:
    """One batch serves both targets, and a span without a form is lost once."""
    guard = Guard(output=lambda level, text: None)
    stamp = Stamp(b"", personal=False)
    sender = SentrySender(
        parse_dsn("http://key@127.0.0.1:9/1"), stamp, guard, proxies=Proxies(), memory=1000, most_items=10
    )
    batch = Encoded(b"", 0, lost=3)
    if way == "the sender's thread":
        sender.submit(batch)
    else:
        with sender.lock:
            sender.accept(batch, stay=True)
    assert dict(sender.stats().dropped) == {}
