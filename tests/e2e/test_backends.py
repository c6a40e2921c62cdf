"""One backend dies and returns: the other is complete at once, the first is complete after."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Start
from tests.e2e.test_launches import UVICORN
from tests.e2e.traces import new_trace
from tests.programs import STOCK
from tests.servers import Stack


@pytest.mark.parametrize("victim", [0, 1], ids=["jaeger", "tempo"])
def test_a_killed_backend_hurts_nobody_and_catches_up(victim: int, start: Start, mortal_stack: Stack) -> None:
    """With one backend killed by -9 the other has every trace; the first has them, too, once it is back."""
    orders = start("orders", (*STOCK, *UVICORN), mortal_stack.collector.url)
    dead, alive = mortal_stack.backends[victim], mortal_stack.backends[1 - victim]
    dead.kill()
    traces = []
    for number in range(10):
        trace_id, headers = new_trace()
        assert orders.call(f"/orders/{900_000 + number}", headers=headers).status == 404
        traces.append(trace_id)
    for trace_id in traces:
        assert len(alive.wait_for_trace(trace_id, spans=2)) == 2
    dead.restart()
    for trace_id in traces:
        assert len(dead.wait_for_trace(trace_id, spans=2, seconds=60)) == 2
