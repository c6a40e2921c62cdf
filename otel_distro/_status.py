"""What the distro does in this process, what it does not, and why: `print(otel_distro.status())`.

Reading it opens no session and sends nothing; where telemetry waits for a sign that it is needed, this is one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .guard import one_line
from .session import Session, opened
from .start import switched_off

if TYPE_CHECKING:
    from .pipeline import Exporting, Pipeline
    from .pipeline._scrapes import Scrapes

_NOT_STARTED = "no launcher has started it here: otel-distro run, or opentelemetry-instrument"


@dataclass(frozen=True, slots=True)
class Failed:
    """A part that has failed.

    Attributes:
        part: its name.
        reason: of the first time, one line.
        remedy: what a person can do about it; may be empty.
        count: how often, in this process.
    """

    part: str
    reason: str
    remedy: str
    count: int


@dataclass(frozen=True, slots=True)
class Part:
    """A signal or something of it.

    Attributes:
        name: such as `traces` or `propagators`.
        on: whether it works here.
        detail: how, or why not; one clause.
    """

    name: str
    on: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Exporter:
    """An exporter and its numbers, counted in this process since its start or fork.

    Attributes:
        signal: `traces`, `metrics` or `logs`.
        name: as in `OTEL_TRACES_EXPORTER` and its like.
        queue: spans or records by what became of them before the exporter; empty where upstream's processor stands.
        senders: of our OTLP exporters, one mapping for each endpoint, with the fields of `otlp.stats.SenderStats`.
    """

    signal: str
    name: str
    queue: Mapping[str, int] = field(default_factory=dict)
    senders: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Instrumented:
    """Who instruments a library.

    Attributes:
        library: the entry-point name.
        by: `otel-distro`, `contrib`, `the library` or `nobody`.
        reason: one clause.
    """

    library: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the distro in one process at one moment.

    Attributes:
        running: whether telemetry is set up here.
        reason: why not; empty when it is.
        version: of the distro.
        pid: of the process.
        role: `application`, `worker`, `supervisor` or `helper`; empty when nothing was started.
        pipeline: `lean` or `upstream`; empty when nothing was started.
        service: `service.name`.
        parts: signals and what belongs to them, on or off.
        exporters: with their numbers.
        instrumentations: who instruments what.
        problems: what was wrong with the settings, one line each, without secrets.
        failures: what has failed so far.
    """

    running: bool
    reason: str = ""
    version: str = __version__
    pid: int = field(default_factory=os.getpid)
    role: str = ""
    pipeline: str = ""
    service: str = ""
    parts: tuple[Part, ...] = ()
    exporters: tuple[Exporter, ...] = ()
    instrumentations: tuple[Instrumented, ...] = ()
    problems: tuple[str, ...] = ()
    failures: tuple[Failed, ...] = ()

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def status() -> Status:
    """The state of this process, from whatever has been set up so far; never raises.

    It works in every process: where nothing was started it says so.
    """
    session = opened()
    if session is None:
        off = switched_off(os.environ)
        return Status(running=False, reason="OTEL_SDK_DISABLED=true" if off else _NOT_STARTED)
    try:
        if session.wake is not None:
            session.wake()
        return of_session(session)
    except Exception as error:  # noqa: BLE001 - a page that shows the state must not fail for it
        return Status(running=session.pipeline is not None, reason=f"the state cannot be read: {one_line(error)}")


def of_session(session: Session) -> Status:
    """The state of `session`."""
    pipeline = session.pipeline
    return Status(
        running=pipeline is not None,
        reason=_why_not(session),
        role=session.role.value,
        pipeline=session.settings.distro.pipeline,
        service=_service(pipeline),
        parts=tuple(_parts(session, pipeline)) if pipeline is not None else (),
        exporters=tuple(_exporter(made) for made in pipeline.exporting) if pipeline is not None else (),
        instrumentations=tuple(Instrumented(d.library, d.by, d.reason) for d in session.decisions()),
        problems=tuple(map(str, session.problems)),
        failures=tuple(Failed(f.part, f.reason, f.remedy, f.count) for f in session.guard.failures),
    )


def _why_not(session: Session) -> str:
    if session.pipeline is not None:
        return ""
    if session.settings.general.disabled:
        return "OTEL_SDK_DISABLED=true"
    if not session.active:
        return "a helper process of Python's own, or a subinterpreter, gets nothing"
    return "the configurator has not run"


def _service(pipeline: Pipeline | None) -> str:
    resource = getattr(pipeline and pipeline.tracer_provider, "resource", None)
    return "" if resource is None else str(resource.attributes.get("service.name", ""))


def _parts(session: Session, pipeline: Pipeline) -> Iterator[Part]:
    chosen = session.settings
    for signal, provider, names in (
        ("traces", pipeline.tracer_provider, chosen.traces.exporters),
        ("metrics", pipeline.meter_provider, chosen.metrics.exporters),
        ("logs", getattr(pipeline, "logger_provider", None), chosen.logs.exporters),
    ):
        made = [exporting.name for exporting in pipeline.exporting if exporting.signal == signal]
        made += ["/metrics"] if signal == "metrics" and pipeline.scrapes is not None else []
        if provider is None:
            asked = names not in {("none",), ()}
            yield Part(signal, on=False, detail="see the failures" if asked else _exporters_of(signal, names))
        else:
            kind = type(provider).__name__
            yield Part(signal, on=True, detail=f"{kind} to {', '.join(made) or 'no exporter'}")
    if pipeline.scrapes is not None:
        yield _scraped(session, pipeline.scrapes)
    names = chosen.general.propagators
    yield Part("propagators", on=bool(names), detail=", ".join(names) or "OTEL_PROPAGATORS=none")
    yield _health()


def _scraped(session: Session, scrapes: Scrapes) -> Part:
    metrics = session.settings.metrics
    places = [scrapes.place()] if metrics.listens else []
    if metrics.route is not None:
        left = session.answers.left(metrics.route)
        where = "the application's own route" if left else "on the application's port"
        places.append((session.serves and not left, f"{metrics.route} {where}"))
    return Part("/metrics", on=any(on for on, _ in places), detail="; ".join(detail for _, detail in places))


def _health() -> Part:
    # where nobody asked for health, nothing of it is imported, and nothing is for this page
    module = sys.modules.get("otel_distro.health.setup")
    health = None if module is None else module.this_process()
    if health is None or not health.adopted:
        return Part("health", on=False, detail="OTEL_DISTRO_HEALTH=off")
    return Part("health", on=True, detail=health.summary)


def _exporters_of(signal: str, names: Sequence[str]) -> str:
    return f"OTEL_{signal.upper()}_EXPORTER={','.join(names) or 'none'}"


def _exporter(made: Exporting) -> Exporter:
    counts = getattr(made.queue, "counts", None)
    ask: Callable[[], Iterable[Any]] | None = getattr(made.exporter, "stats", None)
    return Exporter(
        made.signal,
        made.name,
        queue={} if counts is None else dict(counts()),
        senders=tuple(_values(sender) for sender in ask()) if ask is not None else (),
    )


def _values(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def _lines(state: Status) -> Iterator[str]:
    head = f"otel-distro {state.version}, process {state.pid}"
    if not state.role:
        yield f"{head}: not running: {state.reason}"
        return
    yield f"{head}, {state.role}, {state.pipeline} pipeline: " + (
        f"running as {state.service}" if state.running else f"not running: {state.reason}"
    )
    for part in state.parts:
        yield f"  {part.name:12} {'on ' if part.on else 'off'}  {part.detail}"
    for exporter in state.exporters:
        counted = [f"{name} {number:,}" for name, number in exporter.queue.items() if number]
        yield f"  exporter     {exporter.signal} to {exporter.name}" + (f": {', '.join(counted)}" if counted else "")
        for sender in exporter.senders:
            yield f"               {_sender(sender)}"
    for title, rows in (
        ("library", [f"{row.library}: {row.by}, {row.reason}" for row in state.instrumentations if row.by != "nobody"]),
        ("left alone", [f"{row.library}: {row.reason}" for row in state.instrumentations if row.by == "nobody"]),
        ("setting", state.problems),
        ("failure", [f"{row.part} ({row.count:,}x): {row.reason}" for row in state.failures]),
    ):
        for row in rows:
            yield f"  {title:12} {row}"


def _sender(sender: Mapping[str, Any]) -> str:
    dropped = "".join(f", dropped {number:,} ({reason})" for reason, number in sender["dropped"].items())
    away = "" if sender["away_for"] is None else f", away for {sender['away_for']:.0f} s"
    off = f", off: {sender['off']}" if sender["off"] else ""
    return f"{sender['endpoint']}: sent {sender['sent']:,}, waiting {sender['queued']:,}{dropped}{away}{off}"
