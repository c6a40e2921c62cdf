"""What the demo shows, in order, whatever stands behind the services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from opentelemetry.trace import SpanKind, StatusCode

from .children import Child
from .errors import DemoError
from .metrics import families, table, wait_for
from .picture import svg
from .receiver import Trace, Traces
from .records import SpanRecord
from .screen import Screen
from .traffic import Plan, Sent, drive

_QUIET, _PATIENCE = 0.6, 60.0  # seconds without a new span; seconds to wait for a trace
_METHOD = "http.request.method"
_SERVICES = {"orders", "inventory"}
_SHOWN = ("http_", "db_")  # the families named on the screen


def send_traffic(screen: Screen, port: int, rounds: int, services: Iterable[Child]) -> Sent:
    """Drive the plan against orders, with a progress bar; then say what the distro in the services complained of."""
    steps = list(Plan().steps(rounds))
    screen.heading(f"{len(steps)} requests to orders, which calls inventory")
    sent = drive(port, steps, lambda done, text: screen.progress(done, len(steps), text))
    for service in services:
        for line in service.complaints():
            screen.error(f"  {service.name}: {line}")
    return sent


def show_traces(screen: Screen, traces: Traces) -> Trace:
    """Draw an order across both services, and the request that failed; gives the former."""
    whole = _wait(traces, is_order, "an order across both services")
    screen.heading("One order, across both services")
    screen.tree(whole)
    screen.heading("The request that failed")
    screen.tree(_wait(traces, _is_failure, "the failed request"))
    return whole


def show_metrics(screen: Screen, ports: Mapping[str, int], sent: Sent) -> None:
    """The table of requests that both services count, beside what was sent.

    Raises:
        DemoError: they differ.
    """
    screen.heading("The main series of /metrics, against what was sent")
    wrong = []
    for name, expected in (("orders", sent.orders), ("inventory", sent.inventory)):
        port = ports[f"{name}-metrics"]
        text, counted = wait_for(port, expected, seconds=_PATIENCE)
        for line in table(name, expected, counted):
            screen.say(line)
        names = families(text)
        screen.quiet(f"  {len(names)} metrics at http://127.0.0.1:{port}/metrics, among them:")
        for family in (shown for shown in names if shown.startswith(_SHOWN)):
            screen.quiet(f"    {family}")
        if {series: found.count for series, found in counted.items()} != dict(expected):
            wrong.append(name)
    if wrong:
        raise DemoError(f"/metrics of {' and '.join(wrong)} does not show what was sent")
    screen.say(f"  {sent.total} requests sent, {sent.total} counted")


def show_next(screen: Screen, lines: Iterable[str]) -> None:
    """What to try."""
    screen.heading("What to try next")
    for line in lines:
        screen.say(f"  {line}")


def follow(screen: Screen, traces: Traces) -> None:
    """Draw every trace that settled since the last call."""
    for trace in traces.take(quiet=_QUIET):
        screen.say()
        screen.tree(trace)


def save_picture(path: Path | None, trace: Trace) -> None:
    """Write the trace as an SVG, where a path is given.

    Raises:
        DemoError: the file cannot be written.
    """
    if path is None:
        return
    try:
        path.write_text(svg(trace), encoding="utf-8")
    except OSError as error:
        raise DemoError(f"cannot write {path}: {error.strerror}") from error


def trace_id_of(trace: Trace) -> str:
    """The id in hex, as backends show it."""
    return f"{trace[0].context.trace_id:032x}"


def _wait(traces: Traces, wanted: Callable[[Trace], bool], what: str) -> Trace:
    found = traces.wait(wanted, quiet=_QUIET, seconds=_PATIENCE)
    if found is None:
        raise DemoError(f"no trace of {what} arrived within {_PATIENCE:.0f} s")
    return found


def is_order(trace: Trace) -> bool:
    """Whether an order was placed, with work in both services, and all of it is here: each process sends by itself."""
    root = _root(trace)
    if root is None or root.attributes.get("http.response.status_code") != 201:
        return False
    served = [span for span in trace if span.kind is SpanKind.SERVER]
    calls = {span.context.span_id for span in trace if span.kind is SpanKind.CLIENT and _METHOD in span.attributes}
    answered = {span.parent.span_id for span in served if span.parent is not None}
    return calls <= answered and {span.resource.attributes.get("service.name") for span in served} == _SERVICES


def _is_failure(trace: Trace) -> bool:
    root = _root(trace)
    return root is not None and root.status.status_code is StatusCode.ERROR


def _root(trace: Trace) -> SpanRecord | None:
    return next((span for span in trace if span.parent is None and span.kind is SpanKind.SERVER), None)
