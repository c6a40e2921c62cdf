"""The drills: each breaks one thing, heals it, and says what must be true afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scripts.collectorgen.choices import Choice
from tests.collector.drills.senders import BareSender, request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.collector.drills.rig import Outcome, Rig

COUNT = 200
_PROTOBUF = {"Content-Type": "application/x-protobuf"}


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill.

    Attributes:
        name: what breaks.
        expected: what must be true, in words, for the table.
        run: sends, breaks and heals.
        check: problems of an outcome, none when it is as expected.
        env, choice, recorder: of the rig.
        sdks: also sent by the SDKs, not by bare requests alone.
        short: belongs to the gate.
    """

    name: str
    expected: str
    run: Callable[[Rig], None]
    check: Callable[[Outcome], list[str]]
    env: Mapping[str, str] = field(default_factory=dict)
    choice: Choice = field(default_factory=lambda: Choice("gateway"))
    tls_backends: bool = False
    token_backends: bool = False
    sdks: bool = False
    short: bool = False


# --- what must be true ----------------------------------------------------------------------------------------------


def nothing_lost(*, twice: int = 0) -> Callable[[Outcome], list[str]]:
    """0 missing in both, at most `twice` duplicates in each, and the ledger balanced."""

    def check(outcome: Outcome) -> list[str]:
        found = []
        for name, fate in outcome.fates.items():
            found += [f"{name}: {fate.missing} missing"] if fate.missing else []
            found += [f"{name}: {fate.duplicated} duplicated"] if fate.duplicated > twice else []
            found += [f"{name}: the ledger says {fate.ledger_missing} missing"] if fate.ledger_missing else []
        return found

    return check


def healthy_whole_and_the_rest_counted(*, twice: int = 0) -> Callable[[Outcome], list[str]]:
    """The healthy backend has all, once; what the other lacks is what its counters say, to the span."""

    def check(outcome: Outcome) -> list[str]:
        tempo, jaeger = outcome.fates["tempo"], outcome.fates["jaeger"]
        counted = sum(tempo.dropped.values()) + tempo.parked + tempo.ledger_missing
        found = [f"jaeger: {jaeger.missing} missing, {jaeger.duplicated} twice"] if jaeger.missing or jaeger.duplicated else []
        found += [f"tempo: {tempo.missing} missing, {counted} counted"] if tempo.missing != counted else []
        found += [f"tempo: {tempo.duplicated} duplicated"] if tempo.duplicated > twice else []
        return found

    return check


# --- backends -------------------------------------------------------------------------------------------------------


def _around(rig: Rig, broken: Callable[[], Any], healed: Callable[[], Any], *, pause: float = 0.5) -> None:
    """Send before, during and after a fault."""
    rig.sender.send(COUNT // 4)
    broken()
    rig.sender.send(COUNT // 2)
    time.sleep(pause)
    healed()
    rig.sender.send(COUNT // 4)


def _calm(rig: Rig) -> None:
    rig.sender.send(COUNT)


def _killed(rig: Rig) -> None:
    _around(rig, rig.tempo.kill, rig.tempo.start)


def _both_killed(rig: Rig) -> None:
    def kill() -> None:
        rig.tempo.kill()
        rig.jaeger.kill()

    def start() -> None:
        rig.tempo.start()
        rig.jaeger.start()

    _around(rig, kill, start)


def _behaving(pause: float = 0.5, **mood: int | bool) -> Callable[[Rig], None]:
    return lambda rig: _around(rig, lambda: rig.tempo.behave(**mood), rig.tempo.behave, pause=pause)


def _expired_certificate(rig: Rig) -> None:
    """The backend's certificate has expired, and is renewed."""
    assert rig.tempo.certificate is not None
    good = [path.read_bytes() for path in rig.tempo.certificate]

    def put(contents: list[bytes]) -> None:
        for path, content in zip(rig.tempo.certificate or (), contents, strict=True):
            path.write_bytes(content)
        rig.tempo.kill()  # open connections would go on with the certificate of their handshake
        rig.tempo.start()

    expired = [path.read_bytes() for path in rig.certificates.expired]
    _around(rig, lambda: put(expired), lambda: put(good), pause=1.5)


def _expired_token(rig: Rig) -> None:
    """The backend changes its token; ours is renewed later."""
    assert rig.tempo.token_file is not None
    path = rig.tempo.token_file
    before = path.read_text()
    _around(rig, lambda: path.write_text("another"), lambda: path.write_text(before), pause=1.0)


# --- the collector --------------------------------------------------------------------------------------------------


def _loaded(rig: Rig, fault: Callable[[], None]) -> None:
    """Send from four threads, with the fault in their midst."""
    assert isinstance(rig.sender, BareSender)
    with ThreadPoolExecutor(4) as senders:
        running = [senders.submit(_steady, rig.sender, 40) for _ in range(4)]
        time.sleep(0.3)
        fault()
        for each in running:
            each.result()


def _steady(sender: BareSender, requests: int) -> None:
    for _ in range(requests):
        sender.send(20)
        time.sleep(0.02)


def _collector_killed(rig: Rig) -> None:
    def fault() -> None:
        rig.collector.kill()
        time.sleep(0.2)
        rig.collector.start()

    _sent_around(rig, fault)


def _collector_stopped(rig: Rig) -> None:
    _sent_around(rig, lambda: rig.collector.restart())


def _collector_killed_thrice(rig: Rig) -> None:
    def fault() -> None:
        for _ in range(3):
            rig.collector.kill()
            rig.collector.start()
            time.sleep(0.2)

    _sent_around(rig, fault)


def _sent_around(rig: Rig, fault: Callable[[], None]) -> None:
    if isinstance(rig.sender, BareSender):
        _loaded(rig, fault)
    else:
        _around(rig, fault, lambda: None)


def _corrupted(rig: Rig) -> None:
    """Tempo's queue, with spans in it, is overwritten while the collector is down."""
    rig.tempo.behave(code=14)
    rig.sender.send(COUNT)
    time.sleep(0.5)
    rig.collector.kill()
    (file,) = [path for path in (rig.collector.data / "queues" / "tempo").iterdir() if path.is_file()]
    file.write_bytes(secrets.token_bytes(file.stat().st_size))
    rig.tempo.behave()
    rig.collector.start()
    rig.sender.send(COUNT)


def _full_queue(rig: Rig) -> None:
    """Tempo is away until its small queue is full."""
    assert isinstance(rig.sender, BareSender)
    rig.tempo.behave(code=14)
    for _ in range(30):
        _large(rig.sender)
    rig.tempo.behave()


def _full_queues(rig: Rig) -> None:
    """Both are away until both queues are full: only then is the sender told to come again."""
    assert isinstance(rig.sender, BareSender)
    for backend in rig.backends.values():
        backend.behave(code=14)
    for _ in range(30):
        _large(rig.sender)
    for backend in rig.backends.values():
        backend.behave()


def _large(sender: BareSender) -> None:
    """A request of 10 spans and 200 kB."""
    sender.send_spans([secrets.token_bytes(8) for _ in range(10)], dict.fromkeys(range(10), 20_000))


# --- what is sent ---------------------------------------------------------------------------------------------------


def _oversized(rig: Rig) -> None:
    """One span of 5 MB among 20 others."""
    assert isinstance(rig.sender, BareSender)
    rig.sender.send(40)
    rig.sender.send_spans([secrets.token_bytes(8) for _ in range(21)], {7: 5_000_000})
    rig.sender.send(40)


def _huge_body(rig: Rig) -> None:
    """A body of 20 MB."""
    assert isinstance(rig.sender, BareSender)
    rig.sender.send(40)
    ids = [secrets.token_bytes(8) for _ in range(20)]
    body = request_of(ids, dict.fromkeys(range(20), 1_000_000)).SerializeToString()
    rig.sender.post(body, _PROTOBUF, {span.hex() for span in ids})
    rig.sender.send(40)


def _malformed(rig: Rig) -> None:
    """Bodies that are no protobuf."""
    assert isinstance(rig.sender, BareSender)
    for body in (b"\xff" * 100, secrets.token_bytes(5000), request_of([b"12345678"], {}).SerializeToString()[:-3]):
        rig.sender.post(body, _PROTOBUF, {"lost"})
        rig.sender.send(20)


def _flood(rig: Rig) -> None:
    """More than the memory limit, from eight threads, with the collector's garbage kept (GOGC=off)."""
    assert isinstance(rig.sender, BareSender)
    sender = rig.sender

    def flood() -> None:
        for _ in range(25):
            sender.send_spans([secrets.token_bytes(8) for _ in range(20)], dict.fromkeys(range(20), 50_000))

    with ThreadPoolExecutor(8) as threads:
        for running in [threads.submit(flood) for _ in range(8)]:
            running.result()


_LOST_IS_COUNTED = "healthy backend whole, once; the other's loss counted to the span"
_ZERO = "0 lost, 0 duplicated"
# gRPC: every code after which the exporter drops a batch at its first attempt
_PERMANENT = {
    2: "Unknown",
    3: "InvalidArgument",
    5: "NotFound",
    6: "AlreadyExists",
    7: "PermissionDenied",
    8: "ResourceExhausted",
    9: "FailedPrecondition",
    12: "Unimplemented",
    13: "Internal",
    16: "Unauthenticated",
}
_SMALL = {"OTELCOL_QUEUE_BYTES": "2000000"}
_IN_FLIGHT = 4 * 2 * 20  # senders, a batch before and one behind the restart, spans

DRILLS: tuple[Drill, ...] = (
    Drill("nothing breaks", _ZERO, _calm, nothing_lost(), sdks=True),
    Drill("Tempo killed and restarted", _ZERO, _killed, nothing_lost(), sdks=True, short=True),
    Drill("both backends killed under load", _ZERO, _both_killed, nothing_lost(), sdks=True),
    Drill("Tempo refuses: Unavailable", _ZERO, _behaving(code=14), nothing_lost()),
    Drill("Tempo slow: 0.4 s an answer", _ZERO, _behaving(delay_ms=400), nothing_lost()),
    Drill(
        "Tempo hangs, having stored",
        "0 lost; one duplicate a timeout at most",
        _behaving(delay_ms=60_000, store=True, only=2, pause=2.5),
        nothing_lost(twice=2 * COUNT),
    ),
    Drill("Tempo answers garbage, having stored", "0 lost", _behaving(garbage=True, only=1), nothing_lost(twice=COUNT)),
    Drill("Tempo accepts but 3 spans of a request", _LOST_IS_COUNTED, _behaving(partial=3, only=1), healthy_whole_and_the_rest_counted()),
    *(
        Drill(f"Tempo refuses for good: {code}", _ZERO, _behaving(code=number, pause=0.3), nothing_lost(), short=number == 16)
        for number, code in _PERMANENT.items()
    ),
    Drill("Tempo's certificate expired, then renewed", _ZERO, _expired_certificate, nothing_lost(), choice=Choice("gateway", tls="tls"), tls_backends=True),
    Drill("collector kill -9 under load", "0 lost; duplicates at most the requests on the way", _collector_killed, nothing_lost(twice=_IN_FLIGHT), sdks=True, short=True),
    Drill("collector SIGTERM and start under load", "0 lost; duplicates at most the requests on the way", _collector_stopped, nothing_lost(twice=_IN_FLIGHT), sdks=True),
    Drill("collector kill -9 three times", "0 lost; duplicates at most the requests on the way", _collector_killed_thrice, nothing_lost(twice=3 * _IN_FLIGHT), sdks=True),
    Drill("Tempo's queue full", _LOST_IS_COUNTED, _full_queue, healthy_whole_and_the_rest_counted(), env=_SMALL, short=True),
    Drill("both queues full", "503, the sender keeps it; what was acknowledged arrives or is counted", _full_queues, lambda _: [], env=_SMALL),
    Drill("Tempo's queue file overwritten", _LOST_IS_COUNTED, _corrupted, healthy_whole_and_the_rest_counted()),
    Drill("a span of 5 MB among 20", "shortened, its neighbours whole", _oversized, nothing_lost(), short=True),
    Drill("a body of 20 MB", "refused with 400 or 413, the others arrive", _huge_body, nothing_lost()),
    Drill("malformed protobuf", "refused with 400, the others arrive", _malformed, nothing_lost(), short=True),
    Drill("a flood past the memory limit", "503, the sender keeps it; what was acknowledged arrives", _flood, nothing_lost(), env={"GOGC": "off", "OTELCOL_MEMORY_LIMIT_PERCENT": "1", "OTELCOL_MEMORY_SPIKE_PERCENT": "0"}),
)
