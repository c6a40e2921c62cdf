"""The same traffic through contrib's instrumentation over upstream's SDK and through ours gives
the same telemetry.

`DIFFERENCES` is the whole list of what we do otherwise on purpose, each with its reason: what contrib made of a case is
changed by it into what we expect of ours, and one that changes nothing any more fails the test.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.asgi_traffic import CAPTURE, CASES

ROOT = Path(__file__).parents[2]
_FULL_ROUTES = {
    "mount": ("/below", "/below/user/{user}"),
    "starlette mount": ("/star", "/star/x/{x}"),
    "application root": ("/item/{item}", "/shop/item/{item}"),
}
_RAISING = {"handler raises", "dependency raises"}


@dataclass(frozen=True)
class Difference:
    """What we do otherwise.

    Attributes:
        reason: why.
        change: turns contrib's result of a case into ours: gets the case's name, all spans and all metric points by
            metric, and changes them in place.
    """

    reason: str
    change: Callable[[str, dict[str, Any]], None]


def _server_span(result: dict[str, Any]) -> dict[str, Any]:
    return next((span for span in result["spans"] if span["kind"] == "SERVER"), {"attributes": {}})


def _host(case: str, result: dict[str, Any]) -> None:
    attributes = _server_span(result)["attributes"]
    if not attributes:
        return
    del attributes["server.address"], attributes["server.port"]
    if case == "test client":
        attributes |= {"server.address": "testserver", "server.port": 80}
    elif case != "no host":
        attributes |= {"server.address": "shop.test", "server.port": 8080}


def _client_port(case: str, result: dict[str, Any]) -> None:
    _server_span(result)["attributes"].pop("client.port", None)


def _header_names(case: str, result: dict[str, Any]) -> None:
    attributes = _server_span(result)["attributes"]
    for name in [name for name in attributes if ".header." in name]:
        attributes[re.sub(r"(?<=\.)[^.]+$", lambda found: found[0].replace("_", "-"), name)] = attributes.pop(name)


def _query(case: str, result: dict[str, Any]) -> None:
    if case == "secret query":
        _server_span(result)["attributes"]["url.query"] = "token=REDACTED"


def _full_route(case: str, result: dict[str, Any]) -> None:
    if case not in _FULL_ROUTES:
        return
    short, full = _FULL_ROUTES[case]
    span = _server_span(result)
    span["name"] = span["name"].replace(short, full)
    for holder in (span, *_ended(result)):
        assert holder["attributes"]["http.route"] == short
        holder["attributes"]["http.route"] = full


def _ended(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [point for points in result["metrics"].values() for point in points if "count" in point]


def _exception_type(case: str, result: dict[str, Any]) -> None:
    if case not in _RAISING:
        return
    for holder in (_server_span(result), *_ended(result)):
        assert holder["attributes"]["error.type"] == "500"
        holder["attributes"]["error.type"] = "LookupError"


def _description(case: str, result: dict[str, Any]) -> None:
    if case in _RAISING:
        span = _server_span(result)
        assert span["description"] is None
        span["description"] = f"LookupError: {case.partition(' ')[0]}"


def _broken_stream(case: str, result: dict[str, Any]) -> None:
    if case != "broken stream":
        return
    span = _server_span(result)
    assert len(span["events"]) == 2
    del span["events"][1]
    # older versions of Starlette raise the group that their task group made of it
    kind = span["events"][0]["type"]
    for holder in (span, *_ended(result)):
        holder["attributes"]["error.type"] = kind


def _counted_sizes(case: str, result: dict[str, Any]) -> None:
    sizes = {"stream": 15, "broken stream": 5, "no content": 0}
    if case not in sizes:
        return
    [duration] = result["metrics"]["http.server.request.duration s"]
    bounds = [0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000]
    size = {"attributes": dict(duration["attributes"]), "count": 1, "bounds": bounds, "sum": sizes[case]}
    assert "http.server.response.body.size By" not in result["metrics"]
    result["metrics"]["http.server.response.body.size By"] = [size]


def _websocket(case: str, result: dict[str, Any]) -> None:
    if case == "websocket":
        span = _server_span(result)
        span["name"] = "WS /ws/{room}"
        del span["attributes"]["network.protocol.version"]
        span["attributes"] |= {
            "http.request.method": "GET",
            "network.protocol.name": "websocket",
            "http.response.status_code": 101,
        }


DIFFERENCES = (
    Difference("server.address is the host the client asked for, not the socket's with its port in it", _host),
    Difference("client.port is opt-in in the conventions, and no two requests have the same", _client_port),
    Difference("the conventions keep the dashes of header names", _header_names),
    Difference("secrets in a query do not leave by default", _query),
    Difference("http.route is the full template with mounts and the application root", _full_route),
    Difference("error.type is the exception's type where there is one", _exception_type),
    Difference("the status keeps its description; contrib overwrites it when the 500 is sent", _description),
    Difference("an exception after a 200 has an error.type, and is recorded once and not twice", _broken_stream),
    Difference("bodies without a content length have a size: what was sent", _counted_sizes),
    Difference(
        "a WebSocket's span is named as FastAPI names it, and has the handshake's method and status", _websocket
    ),
)


def _side(name: str) -> dict[str, Any]:
    environ = {**os.environ, **CAPTURE, "OTEL_SEMCONV_STABILITY_OPT_IN": "http", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "tests.conformance.asgi_traffic", name]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def sides() -> tuple[dict[str, Any], dict[str, Any]]:
    """What both sides made of every case, each in a process of its own."""
    return _side("contrib"), _side("ours")


@pytest.mark.parametrize("case", CASES)
def test_ours_is_contribs_but_for_the_listed_differences(sides, case):
    """All spans are equal in everything but ids and times, and all metrics in everything but durations."""
    contrib, ours = sides
    expected = copy.deepcopy(contrib[case])
    for difference in DIFFERENCES:
        difference.change(case, expected)
    assert ours[case]["spans"] == expected["spans"]
    # connections that stay open are counted as well, which contrib has no metrics for
    open_ones = ("websocket.server.", "sse.server.")
    metrics = {name: points for name, points in ours[case]["metrics"].items() if not name.startswith(open_ones)}
    assert metrics == expected["metrics"]


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.reason)
def test_every_listed_difference_still_is_one(sides, difference):
    """A difference that upstream has done away with leaves the table."""
    changed = 0
    for case, result in sides[0].items():
        expected = copy.deepcopy(result)
        difference.change(case, expected)
        changed += expected != result
    assert changed
