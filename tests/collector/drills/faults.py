"""What is broken, and healed again, while spans are sent."""

from __future__ import annotations

import contextlib
import gzip
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.collector.drills import clock
from tests.collector.drills.senders import BareSender, request_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.collector.drills.rig import Rig
    from tests.collector.drills.senders import Sender

COUNT = 200
DAYS = 2 * 24 * 3600  # seconds that a clock jumps by: more than a parked batch may be old
OLD_QUEUE = 100  # spans in the file of queues/otelcol-0.110.0.gz
_QUEUES = Path(__file__).with_name("queues")

# --- backends -------------------------------------------------------------------------------------------------------


def _around(rig: Rig, broken: Callable[[], Any], healed: Callable[[], Any], *, pause: float = 0.5) -> None:
    """Send before, during and after a fault."""
    rig.sender.send(COUNT // 4)
    broken()
    rig.sender.send(COUNT // 2)
    time.sleep(pause)
    healed()
    rig.sender.send(COUNT // 4)


def calm(rig: Rig) -> None:
    rig.sender.send(COUNT)


def many_traces(rig: Rig) -> None:
    """Enough traces for a share of them to be neither none nor all."""
    rig.sender.send(4 * COUNT)


def killed(rig: Rig) -> None:
    _around(rig, rig.tempo.kill, rig.tempo.start)


def other_killed(rig: Rig) -> None:
    _around(rig, rig.backends["jaeger"].kill, rig.backends["jaeger"].start)


def both_killed(rig: Rig) -> None:
    def kill() -> None:
        rig.tempo.kill()
        rig.backends["jaeger"].kill()

    def start() -> None:
        rig.tempo.start()
        rig.backends["jaeger"].start()

    _around(rig, kill, start)


def behaving(pause: float = 0.5, **mood: int | bool) -> Callable[[Rig], None]:
    return lambda rig: _around(rig, lambda: rig.tempo.behave(**mood), rig.tempo.behave, pause=pause)


def expired_certificate(rig: Rig) -> None:
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


def rotated_token(rig: Rig) -> None:
    """The gateway asks for another token than the agent shows, until the agent's file is renewed as well."""
    gateway = rig.backends["gateway"]
    assert gateway.token_file is not None
    theirs, ours = gateway.token_file, rig.exporter_token
    _around(rig, lambda: theirs.write_text("renewed"), lambda: ours.write_text("renewed"), pause=1.0)


# --- the collector --------------------------------------------------------------------------------------------------


def _loaded(rig: Rig, fault: Callable[[], object]) -> None:
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


def collector_killed(rig: Rig) -> None:
    def fault() -> None:
        rig.collector.kill()
        time.sleep(0.2)
        rig.collector.start()

    _sent_around(rig, fault)


def collector_stopped(rig: Rig) -> None:
    _sent_around(rig, rig.collector.restart)


def collector_killed_thrice(rig: Rig) -> None:
    def fault() -> None:
        for _ in range(3):
            rig.collector.kill()
            rig.collector.start()
            time.sleep(0.2)

    _sent_around(rig, fault)


def _sent_around(rig: Rig, fault: Callable[[], object]) -> None:
    if isinstance(rig.sender, BareSender):
        _loaded(rig, fault)
    else:
        _around(rig, fault, lambda: None)


def damaged(rig: Rig) -> None:
    """The middle of Tempo's queue file is overwritten while the collector is down."""
    _with_broken_queue(rig, lambda content: content[:12288] + secrets.token_bytes(len(content) - 12288))


def overwritten(rig: Rig) -> None:
    """The whole of it: no database any more."""
    _with_broken_queue(rig, lambda content: secrets.token_bytes(len(content)))


def _with_broken_queue(rig: Rig, broken: Callable[[bytes], bytes]) -> None:
    rig.tempo.behave(code=14)
    rig.sender.send(COUNT)
    time.sleep(0.5)
    rig.collector.kill()
    (file,) = [path for path in (rig.collector.data / "queues" / "tempo").iterdir() if path.is_file()]
    file.write_bytes(broken(file.read_bytes()))
    rig.tempo.behave()
    rig.collector.start()
    rig.sender.send(COUNT)


def older_queues(rig: Rig) -> None:
    """The collector is upgraded: what an older one had queued for both backends lies where this one's queues are."""
    assert isinstance(rig.sender, BareSender)
    rig.collector.stop()
    content = gzip.decompress((_QUEUES / "otelcol-0.110.0.gz").read_bytes())
    for backend in rig.backends:
        (file,) = (rig.collector.data / "queues" / backend).iterdir()
        file.write_bytes(content)
    rig.sender.accepted |= {f"{number:08d}".encode().hex() for number in range(OLD_QUEUE)}
    rig.collector.start()
    rig.sender.send(COUNT)


def clock_jumps(*jumps: int, **mood: int | bool) -> Callable[[Rig], None]:
    """The collector's wall clock is set by so many seconds, one after the other, while a backend misbehaves."""

    def run(rig: Rig) -> None:
        def broken() -> None:
            rig.tempo.behave(**mood)

        def healed() -> None:
            for seconds in jumps:
                clock.jump(rig.collector.pid, seconds)
                rig.sender.send(COUNT // 4)
                time.sleep(1)
            rig.tempo.behave()

        _around(rig, broken, healed)

    return run


def clock_was_ahead(rig: Rig) -> None:
    """Queued and parked while the clock was two days ahead; a restart has the right one."""

    def broken() -> None:
        clock.jump(rig.collector.pid, DAYS)
        rig.tempo.behave(code=16)
        rig.backends["jaeger"].behave(code=14)

    def healed() -> None:
        rig.collector.restart()
        for backend in rig.backends.values():
            backend.behave()

    _around(rig, broken, healed, pause=1.5)


def own_certificate_expired(rig: Rig) -> None:
    """The collector serves an expired certificate when the sender first comes, until it is renewed."""
    files = rig.collector.data / "tls.crt", rig.collector.data / "tls.key"
    _put(files, rig.certificates.expired)
    rig.sender.send(COUNT // 2)
    time.sleep(4)
    _put(files, rig.certificates.server)
    rig.sender.send(COUNT // 2)


def own_token_changed(rig: Rig) -> None:
    """The collector asks for another token than senders show, until its file is as it was."""
    file = rig.collector.token_file
    before = file.read_text()
    _around(rig, lambda: file.write_text("another"), lambda: file.write_text(before), pause=3)


def _put(files: tuple[Path, Path], pair: tuple[Path, Path]) -> None:
    """Exchange both files, and wait until the collector has read them."""
    for source, target in zip(pair, files, strict=True):
        target.write_bytes(source.read_bytes())
    time.sleep(1.5)  # OTELCOL_TLS_RELOAD_INTERVAL is 1 s in these drills


def full_queue(rig: Rig) -> None:
    """Tempo is away until its small queue is full; Jaeger's never is, for it is waited for."""
    rig.tempo.behave(code=14)
    for sent in range(1, 31):
        _large(rig.sender)
        if sent % 5 == 0:
            rig.backends["jaeger"].wait_for_spans(10 * sent)
    rig.tempo.behave()


def full_queues(rig: Rig) -> None:
    """Both are away until both queues are full: only then is the sender told to come again."""
    assert isinstance(rig.sender, BareSender)
    for backend in rig.backends.values():
        backend.behave(code=14)
    for _ in range(30):
        _large(rig.sender)
    for backend in rig.backends.values():
        backend.behave()


def refused_for_long(rig: Rig) -> None:
    """Both queues are full for longer than an SDK tries again: only a sender that keeps what it has loses none."""
    filler = rig.bare_sender()
    rig.sender.send(COUNT // 4)
    for backend in rig.backends.values():
        backend.wait_for_spans(COUNT // 4)
        backend.behave(code=14)
    for _ in range(20):
        _large(filler)
    refused = filler.answers["503"]
    while filler.answers["503"] < refused + 3:  # what is left for small requests
        filler.send(1)
    rig.sender.send(COUNT // 2)
    time.sleep(14)
    for backend in rig.backends.values():
        backend.behave()
    time.sleep(2)
    rig.sender.send(COUNT // 4)


def _large(sender: Sender) -> None:
    """10 spans and 200 kB, of a bare sender in one request."""
    sender.send(10, 20_000)


def sampler_stopped(rig: Rig) -> None:
    """SIGTERM while traces wait for their decision."""
    rig.sender.send(COUNT)
    rig.collector.restart()
    rig.sender.send(COUNT)


def sampler_killed(rig: Rig) -> None:
    """kill -9 while traces wait for their decision: those that were decided are safe, and so are all after."""
    rig.sender.send(COUNT // 2)
    rig.tempo.wait_for_spans(COUNT // 2)
    rig.sender.send(COUNT)
    rig.collector.kill()
    rig.collector.start()
    rig.sender.send(COUNT // 2)


# --- what is sent ---------------------------------------------------------------------------------------------------


def oversized(rig: Rig) -> None:
    """One span of 5 MB among others: of a bare sender in one request."""
    rig.sender.send(40)
    if isinstance(rig.sender, BareSender):
        rig.sender.send_spans([secrets.token_bytes(8) for _ in range(21)], {7: 5_000_000})
    else:
        rig.sender.send(1, 5_000_000)
    rig.sender.send(40)


def huge_body(rig: Rig) -> None:
    """A body of 20 MB."""
    assert isinstance(rig.sender, BareSender)
    rig.sender.send(40)
    ids = [secrets.token_bytes(8) for _ in range(20)]
    body = request_of(ids, dict.fromkeys(range(20), 1_000_000)).SerializeToString()
    rig.sender.post(body, {span.hex() for span in ids})
    rig.sender.send(40)


def malformed(rig: Rig) -> None:
    """Bodies that are no protobuf."""
    assert isinstance(rig.sender, BareSender)
    for body in (b"\xff" * 100, secrets.token_bytes(5000), request_of([b"12345678"], {}).SerializeToString()[:-3]):
        rig.sender.post(body, {"lost"})
        rig.sender.send(20)


def flood(rig: Rig) -> None:
    """More than the memory limit, from eight threads."""
    assert isinstance(rig.sender, BareSender)
    sender = rig.sender

    def flood() -> None:
        for _ in range(15):
            sender.send_spans([secrets.token_bytes(8) for _ in range(20)], dict.fromkeys(range(20), 100_000))

    with ThreadPoolExecutor(8) as threads:
        for running in [threads.submit(flood) for _ in range(8)]:
            running.result()


def filled_disk(rig: Rig) -> None:
    """Somebody else fills the queues' file system to the last byte, while both are away and spans are queued."""
    for backend in rig.backends.values():
        backend.behave(code=14)
    rig.sender.send(COUNT // 2)
    time.sleep(1)
    ballast = Path(f"/proc/{rig.collector.pid}/root{rig.collector.data}/queues/ballast")
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 65536):
            pass
    for _ in range(10):
        rig.sender.send(20)
    for backend in rig.backends.values():
        backend.behave()
    time.sleep(3)
    ballast.unlink()
    rig.sender.send(COUNT // 2)


def full_disk(rig: Rig) -> None:
    """Both are away, and the queues fill their file system."""
    for backend in rig.backends.values():
        backend.behave(code=14)
    for _ in range(80):
        _large(rig.sender)
    for backend in rig.backends.values():
        backend.behave()
    time.sleep(3)
    rig.sender.send(40)
    with contextlib.suppress(TimeoutError):  # a spool comes again after up to half a minute
        rig.tempo.wait_for_spans(len(rig.sender.sent), seconds=0 if rig.sender.name == "upstream SDK" else 40)
