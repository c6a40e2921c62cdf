"""The same calls through contrib 0.66b1 and the upstream SDK, and through ours, give the same spans but for a list.

Both run in processes of their own, with the stable semantic conventions opted in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from tests.http_echo import serve

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Differences:
    """Intended differences of one library, each with its reason.

    Attributes:
        dropped: attributes only contrib has.
        added: attributes only ours has.
        changed: attributes of another value.
        names: span names that contrib gives -> what they are with us, by the conventions' rules for database spans.
        extra: names of spans that only contrib makes.
        status: what may differ in status or events.
    """

    dropped: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, set[str]] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    status: Mapping[str, str] = field(default_factory=dict)


_NO_MESSAGES = "drivers put values into messages; the class and the database's code are on the span instead"
_PEER = "network.peer.* is the address of the socket; contrib writes the URL's host name there"
_AGENT = "user_agent.original is opt-in for clients"
_ERROR_TYPE = "contrib leaves error.type out where the library raises"
_RESENT = "recommended by the conventions for a request that was sent again and has a span of its own"
_SERVER = "required by the conventions for HTTP clients"

EXPECTED = {
    "sqlalchemy": Differences(
        added={
            "db.collection.name": "the table, where there is exactly one",
            "db.query.summary": "what the conventions want of who can parse",
            "db.operation.batch.size": "a batch says its size",
            "error.type": "required where an operation failed",
            "db.response.status_code": "required where there is one",
        },
        changed={
            "db.operation.name": "contrib writes operation and database; a batch is named BATCH",
            "db.query.text": "literals are replaced and lists of parameters collapsed",
        },
        names={
            "CREATE": {"CREATE TABLE users"},
            "INSERT": {"BATCH INSERT users"},
            "UPDATE": {"UPDATE users"},
            "SELECT": {"SELECT users", "SELECT nowhere", "SELECT"},
        },
        extra={"connect": "a span for every checkout of a pooled connection tells nothing (issue: no `connect` span)"},
        status={"description": _NO_MESSAGES},
    ),
    "redis": Differences(
        dropped={
            "db.redis.args_length": "not in the conventions; the text shows it",
            "db.redis.pipeline_length": "it is db.operation.batch.size in the conventions",
            "network.transport": "not in the conventions for Redis; server.address tells a socket from a host",
        },
        added={
            "db.namespace": "the index of the database; contrib drops it with the stable conventions",
            "db.operation.name": "required by the conventions",
            "db.operation.batch.size": "a batch says its size",
            "error.type": "required where an operation failed",
            "db.response.status_code": "required where there is one",
        },
        changed={"db.query.text": "the pattern of the key is shown"},
        names={"SET INCRBY": {"PIPELINE"}, "GET GET": {"MULTI GET"}},
        status={"description": _NO_MESSAGES, "events": _NO_MESSAGES},
    ),
    "httpx": Differences(
        added={"http.request.resend_count": _RESENT},
        dropped={"network.peer.address": _PEER, "network.peer.port": _PEER},
    ),
    "httpx2": Differences(
        added={"http.request.resend_count": _RESENT},
        dropped={"network.peer.address": _PEER, "network.peer.port": _PEER},
    ),
    "requests": Differences(
        dropped={"network.peer.address": _PEER, "network.peer.port": _PEER, "user_agent.original": _AGENT},
    ),
    "urllib3": Differences(
        added={
            "server.address": _SERVER,
            "server.port": _SERVER,
            "network.protocol.version": _SERVER,
            "error.type": _ERROR_TYPE,
            "http.request.resend_count": _RESENT,
        },
        changed={"url.full": "contrib does not redact it"},
    ),
    "aiohttp_client": Differences(
        added={"network.protocol.version": "recommended by the conventions"},
        status={"description": "named like everywhere else: class and message"},
    ),
}


@pytest.fixture(scope="module")
def http() -> Iterator[str]:
    """The URL of an HTTP server."""
    with serve() as echo:
        yield echo.url


@pytest.fixture(scope="module")
def redis_port() -> Iterator[str]:
    """The port of a Redis server."""
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield str(server.server_address[1])
    server.shutdown()
    server.server_close()
    thread.join()


def traffic(library: str, side: str, where: str, path: Path | None = None) -> dict[str, Any]:
    """What one side makes of the calls.

    Args:
        library: one of `client_traffic.LIBRARIES`.
        side: `contrib` or `ours`.
        where: URL or port of the server.
        path: searched for packages first.
    """
    environment = {**os.environ, "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database", "PYTHONPATH": str(path or "")}
    command = [sys.executable, "-m", "tests.conformance.client_traffic", library, side, where]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


@pytest.fixture
def where(http: str, redis_port: str) -> Mapping[str, str]:
    """Where each library's server is."""
    return {"redis": redis_port, "sqlalchemy": "-"} | dict.fromkeys(
        ("httpx", "httpx2", "requests", "urllib3", "aiohttp_client"), http
    )


@pytest.mark.parametrize("library", EXPECTED)
def test_spans_are_contribs_but_for_the_listed_differences(library: str, where: Mapping[str, str]) -> None:
    """Names, kinds, parents, attributes, status and events agree; differences are in the table and still there."""
    expected = EXPECTED[library]
    contrib = traffic(library, "contrib", where[library])
    ours = traffic(library, "ours", where[library])
    assert ours["results"] == contrib["results"]
    theirs = [span for span in contrib["spans"] if span["name"] not in expected.extra]
    assert len(theirs) == len(ours["spans"])
    found: dict[str, set[str]] = {"dropped": set(), "added": set(), "changed": set(), "names": set(), "status": set()}
    for their, our in zip(theirs, ours["spans"], strict=True):
        _compare(their, our, expected, found)
    for kind, names in found.items():
        listed = getattr(expected, kind)
        unlisted = {name for name in names if name not in listed}
        assert not unlisted, f"{kind}: {unlisted}"
        stale = set(listed) - names
        assert not stale, f"listed but not found, {kind}: {stale}"


def _compare(their: dict[str, Any], our: dict[str, Any], expected: Differences, found: dict[str, set[str]]) -> None:
    for exact in ("kind", "parent", "status", "links"):
        assert our[exact] == their[exact], (exact, their, our)
    if our["name"] != their["name"]:
        found["names"].add(their["name"])
        assert our["name"] in expected.names.get(their["name"], {our["name"]})
    for name in ("description", "events"):
        if our[name] != their[name]:
            found["status"].add(name)
    mine, others = our["attributes"], their["attributes"]
    found["dropped"] |= others.keys() - mine.keys()
    found["added"] |= mine.keys() - others.keys()
    found["changed"] |= {key for key in mine.keys() & others.keys() if mine[key] != others[key]}


def test_sqlalchemy_2_1_gives_the_spans_of_2_0(tmp_path: Path) -> None:
    """SQLAlchemy 2.1, which contrib refuses, gives the same spans as 2.0."""
    wanted = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path), "sqlalchemy>=2.0,<2.1"]
    subprocess.run(wanted, check=True)
    assert traffic("sqlalchemy", "ours", "-", tmp_path) == traffic("sqlalchemy", "ours", "-")
