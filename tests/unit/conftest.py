"""What several files of this suite stand on; properties are tried as often as `tests.examples` says."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests import examples
from tests.asgi_rig import Rig, rigged
from tests.http_echo import Echo, serve
from tests.metrics_rig import Setup

examples.choose()


@pytest.fixture(params=[True, False], ids=["lean", "upstream"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The server path over our providers and over upstream's."""
    with rigged(lean=request.param) as made:
        yield made


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    """An HTTP server."""
    with serve() as echo:
        yield echo


@pytest.fixture(scope="module", name="port")
def redis_port() -> Iterator[int]:
    """The port of a Redis server in a thread: redis-py talks to it over a socket as to any other."""
    import fakeredis  # not every environment of this suite has it

    server = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def setup() -> Iterator[Setup]:
    """A meter provider with one reader; nothing of the distro may have failed."""
    made = Setup()
    yield made
    assert not made.lines
