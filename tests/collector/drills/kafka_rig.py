"""Traces through Kafka: an ingesting collector, samplers of one group, and two recording backends behind them."""

from __future__ import annotations

import secrets
import struct
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from scripts.collectorgen.choices import Choice
from tests.collector.drills.rig import Fate, Outcome
from tests.collector.drills.senders import BareSender, request_of
from tests.collector.generated import TOKEN, GeneratedCollector
from tests.servers import RecorderServer, total, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.otlp_servers import Certificates
    from tests.servers import KafkaServer

#: Parts of a trace, a request each, and spans of a part; the last has the root, and perhaps an error.
PARTS, SPANS = 3, 2
_TRACES = 16  # begun with each request
_APART = 2  # requests between two parts of a trace
_PAUSE = 0.15  # seconds between requests
_ANSWERED = 5.0  # seconds
_QUIET = 18.0  # seconds without a change: a session that ends, a rebalance and a decision are shorter
_CELL = 256

SAMPLING = {
    "OTELCOL_SAMPLING_WAIT": "10s",  # a machine, and a broker on it, may stand still for seconds
    "OTELCOL_SAMPLING_WAIT_AFTER_ROOT": "1s",
    "OTELCOL_SAMPLING_PERCENT": "0",  # errors alone: a trace that was torn shows
    "KAFKA_SESSION_TIMEOUT": "3s",
}


@dataclass
class TraceLoad:
    """Traces whose parts come in several requests; every third fails in its last part, and is to be kept."""

    sender: BareSender
    payload: int = 0  # bytes in the last span of a trace that fails
    keep: set[str] = field(default_factory=set)  # ids of spans
    leave: set[str] = field(default_factory=set)
    traces: dict[str, bytes] = field(default_factory=dict)  # span id to its trace id

    def __post_init__(self) -> None:
        self._begun: list[list[tuple[bytes, bool]]] = []
        self._round = 0

    def request(self, *, begin: bool = True) -> None:
        """One request: the first part of new traces, and further parts of those that have begun."""
        new = [(secrets.token_bytes(16), each % 3 == 0) for each in range(_TRACES)] if begin else []
        self._begun.append(new)
        spans: list[Span] = []
        for part in range(PARTS):
            place = self._round - part * _APART
            for trace_id, fails in self._begun[place] if place >= 0 else ():
                spans += self._part(trace_id, part, fails)
        self._round += 1
        if spans:
            body = request_of([], {})
            body.resource_spans[0].scope_spans[0].spans.extend(spans)
            self.sender.post(body.SerializeToString(), {span.span_id.hex() for span in spans})

    def finish(self) -> None:
        """Send the parts that are missing."""
        for _ in range((PARTS - 1) * _APART):
            self.request(begin=False)
            time.sleep(_PAUSE)

    def _part(self, trace_id: bytes, part: int, fails: bool) -> list[Span]:
        made = []
        for place in range(SPANS):
            root = part == PARTS - 1 and place == SPANS - 1
            span = Span(
                trace_id=trace_id,
                span_id=secrets.token_bytes(8),
                parent_span_id=b"" if root else b"12345678",
                name="GET /orders/{id}",
                kind=Span.SPAN_KIND_SERVER if root else Span.SPAN_KIND_INTERNAL,
                status=Status(code=Status.STATUS_CODE_ERROR) if root and fails else None,
            )
            if root and fails and self.payload:
                span.attributes.add(key="payload").value.string_value = "x" * self.payload
            made.append(span)
            (self.keep if fails else self.leave).add(span.span_id.hex())
            self.traces[span.span_id.hex()] = trace_id
        return made


@dataclass
class KafkaRig:
    """The servers of one drill but the broker, which several share; a context manager."""

    broker: KafkaServer
    logs: Path
    certificates: Certificates
    samplers_at_start: int = 2
    env: Mapping[str, str] = field(default_factory=dict)
    payload: int = 0

    def __enter__(self) -> Self:
        self.topic = f"spans-{secrets.token_hex(4)}"
        self.samplers: list[GeneratedCollector] = []
        with ExitStack() as starting:
            self._running = starting
            self.backends = {
                name: starting.enter_context(RecorderServer(self.logs, name)) for name in ("tempo", "jaeger")
            }
            self.ingest = starting.enter_context(self._collector("ingest", "ingest"))
            self.load = TraceLoad(BareSender(self.ingest.url, self.certificates.authority, TOKEN), self.payload)
            self.load.request()  # makes the topic
            self.ingest.wait_for_metric("otelcol_exporter_sent_spans_total", 1)
            for _ in range(self.samplers_at_start):
                self.add_sampler()
            if self.samplers:
                wait_until(self.reading, seconds=30, what="a sampler that reads")
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def add_sampler(self) -> GeneratedCollector:
        """Start one more member of the group."""
        made = self._collector("consume", f"consume-{len(self.samplers)}")
        self.samplers.append(made)
        return self._running.enter_context(made)

    def reading(self) -> bool:
        """Whether the first sampler has read something, and so been given partitions."""
        return bool(total(self.samplers[0].metrics(), "otelcol_receiver_accepted_spans_total"))

    def loaded(self, seconds: float) -> Loading:
        """A context in which requests go on, for `seconds` at least."""
        return Loading(self.load, seconds)

    def settle(self, *, seconds: float = 90.0) -> None:
        """Wait until all that is to be kept is in both backends and the rest is counted, or until nothing changes."""
        before: list[int] = []
        deadline = time.monotonic() + seconds
        quiet = time.monotonic() + _QUIET
        while time.monotonic() < min(deadline, quiet):
            away = self.ledger(stage="sampled_away")
            stored = [set(backend.stored()) for backend in self.backends.values()]
            if all(self.load.keep <= each for each in stored) and away >= len(self.load.leave):
                answered = min(
                    deadline, time.monotonic() + _ANSWERED
                )  # what a slow backend has stored is delivered later
                while any(self._held(name) > 0 for name in self.backends) and time.monotonic() < answered:
                    time.sleep(0.1)
                time.sleep(1.0)  # for what comes twice
                return
            now = [away, *(len(each) for each in stored)]
            if now != before:
                before, quiet = now, time.monotonic() + _QUIET
            time.sleep(0.3)

    def ledger(self, **labels: str) -> int:
        """A sum over the ledgers of all samplers, read where they lie: some have been killed, and do not come back."""
        found = 0
        for sampler in self.samplers:
            book = sampler.data / "queues" / "ledger" / "ledger.bin"
            found += sum(value for entry, value in entries(book) if labels.items() <= entry.items())
        return found

    def outcome(self, drill: str, expected: str) -> Outcome:
        """Count now: missing is what is not there, sampled away or not."""
        sent = self.load.sender.sent
        fates = {}
        for name, backend in self.backends.items():
            stored = backend.stored()
            fates[name] = Fate(
                arrived=len(sent & set(stored)),
                missing=len(sent - set(stored)),
                duplicated=sum(stored.values()) - len(stored),
                ledger_missing=self._held(name),
                dropped={"dropped": dropped} if (dropped := self.ledger(backend=name, stage="dropped")) else {},
                parked=0,
            )
        return Outcome(
            drill=drill,
            sender="bare",
            sent=len(sent),
            fates=fates,
            lost_in_sampler=self._held("sampler"),
            sampled_away=self.ledger(stage="sampled_away"),
            told=self.load.sender.told,
            expected=expected,
        )

    def _held(self, account: str) -> int:
        return self.ledger(backend=account, side="in") - self.ledger(backend=account, side="out")

    def _collector(self, role: str, name: str) -> GeneratedCollector:
        env = {
            "KAFKA_BROKERS": self.broker.brokers,
            "KAFKA_TRACES_TOPIC": self.topic,
            "KAFKA_GROUP": f"{self.topic}-readers",
            "KAFKA_CREATE_TOPIC": "true",
            "TEMPO_OTLP_ENDPOINT": self.backends["tempo"].otlp_endpoint,
            "JAEGER_OTLP_ENDPOINT": self.backends["jaeger"].otlp_endpoint,
            "OTELCOL_BACKEND_TIMEOUT": "2s",
            **SAMPLING,
            **self.env,
        }
        made = GeneratedCollector(
            self.logs, Choice("ingest" if role == "ingest" else "consume"), self.certificates, env=env, name=name
        )
        made.through_start = True
        return made


def entries(book: Path) -> Iterator[tuple[dict[str, str], int]]:
    """Counters of a ledger's file: cells of 256 bytes, the first one a heading; value, length of the key, key."""
    if not book.exists():
        return
    content = book.read_bytes()
    for start in range(_CELL, len(content), _CELL):
        value, length = struct.unpack_from("<qq", content, start)
        if not length:
            return
        key = content[start + 16 : start + 16 + length].decode().split("\0")
        yield dict(zip(("side", "signal", "backend", "stage", "reason"), key, strict=True)), value


class Loading:
    """Requests in a thread of their own, until the block has ended and the time is up."""

    def __init__(self, load: TraceLoad, seconds: float) -> None:
        self._load = load
        self._until = time.monotonic() + seconds
        self._stop = Event()
        self._problem: BaseException | None = None
        self._thread = Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        try:
            while not self._stop.is_set() or time.monotonic() < self._until:
                self._load.request()
                time.sleep(_PAUSE)
            self._load.finish()
        except BaseException as problem:
            self._problem = problem
