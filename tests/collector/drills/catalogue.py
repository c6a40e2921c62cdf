"""The drills: what breaks, what must be true afterwards, and in words for the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scripts.collectorgen.choices import Choice
from tests.collector.drills import faults, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.collector.drills.rig import Outcome, Rig


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill.

    Attributes:
        name: what breaks.
        expected: what must be true, in words, for the table.
        run: sends, breaks and heals.
        check: problems of an outcome, none when it is as expected.
        env, choice, arguments, disk: of the collector.
        tls_backends, token_backends: the backends speak TLS, or ask for a token.
        over_http: spans go to Tempo by OTLP/HTTP.
        sdks: also sent by the SDKs, not by bare requests alone.
        short: belongs to the gate.
    """

    name: str
    expected: str
    run: Callable[[Rig], None]
    check: Callable[[Outcome], list[str]]
    env: Mapping[str, str] = field(default_factory=dict)
    choice: Choice = field(default_factory=lambda: Choice("gateway"))
    arguments: tuple[str, ...] = ()
    disk: str = ""
    tls_backends: bool = False
    token_backends: bool = False
    over_http: bool = False
    sdks: bool = False
    short: bool = False


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
# HTTP: of the many after which the exporter drops a batch, those that gateways and stores answer with
_PERMANENT_HTTP = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    413: "Content Too Large",
    500: "Internal Server Error",
}
_QUICK_SAMPLER = {"OTELCOL_SAMPLING_WAIT": "3s", "OTELCOL_SAMPLING_WAIT_AFTER_ROOT": "1s"}
_KEEP_ALL = _QUICK_SAMPLER | {"OTELCOL_SAMPLING_PERCENT": "100"}
_QUICK_TLS = {"OTELCOL_TLS_RELOAD_INTERVAL": "1s"}
_SMALL = {"OTELCOL_QUEUE_BYTES": "2000000"}

DRILLS: tuple[Drill, ...] = (
    Drill("nothing breaks", _ZERO, faults.calm, verdicts.nothing_lost(), sdks=True),
    Drill("Tempo killed and restarted", _ZERO, faults.killed, verdicts.nothing_lost(), sdks=True, short=True),
    Drill("Jaeger killed and restarted", _ZERO, faults.other_killed, verdicts.nothing_lost()),
    Drill("both backends killed under load", _ZERO, faults.both_killed, verdicts.nothing_lost(), sdks=True),
    Drill("Tempo refuses: Unavailable", _ZERO, faults.behaving(code=14), verdicts.nothing_lost(), sdks=True),
    Drill("Tempo refuses: HTTP 503", _ZERO, faults.behaving(status=503), verdicts.nothing_lost(), over_http=True),
    Drill("Tempo slow: 0.4 s an answer", _ZERO, faults.behaving(delay_ms=400), verdicts.nothing_lost(), sdks=True),
    Drill(
        "Tempo hangs, having stored",
        "0 lost; one duplicate a timeout at most",
        faults.behaving(delay_ms=60_000, store=True, only=2, pause=2.5),
        verdicts.nothing_lost(twice=2 * faults.COUNT),
        sdks=True,
    ),
    Drill(
        "Tempo answers garbage, having stored",
        "0 lost",
        faults.behaving(garbage=True, only=1),
        verdicts.nothing_lost(twice=faults.COUNT),
        sdks=True,
    ),
    Drill(
        "Tempo accepts but 3 spans of a request",
        _LOST_IS_COUNTED,
        faults.behaving(partial=3, only=1),
        verdicts.healthy_whole_and_the_rest_counted(),
        sdks=True,
    ),
    *(
        Drill(
            f"Tempo refuses for good: {code}",
            _ZERO,
            faults.behaving(code=number, pause=0.3),
            verdicts.nothing_lost(),
            sdks=number == 16,
            short=number == 16,
        )
        for number, code in _PERMANENT.items()
    ),
    *(
        Drill(
            f"Tempo refuses for good: HTTP {number} {name}",
            _ZERO,
            faults.behaving(status=number, pause=0.3),
            verdicts.nothing_lost(),
            over_http=True,
            short=number == 403,
        )
        for number, name in _PERMANENT_HTTP.items()
    ),
    Drill(
        "Tempo refuses for good, its parking place is full",
        _LOST_IS_COUNTED,
        faults.behaving(code=7, pause=1.0),
        verdicts.healthy_whole_and_the_rest_counted(),
        env={"OTELCOL_PARK_BYTES": "1000"},
    ),
    Drill(
        "Tempo refuses for good, for longer than a batch is parked",
        _LOST_IS_COUNTED,
        faults.behaving(code=3, pause=4.0),
        verdicts.healthy_whole_and_the_rest_counted(),
        env={"OTELCOL_PARK_MAX_AGE": "1s"},
    ),
    Drill(
        "Tempo's certificate expired, then renewed",
        _ZERO,
        faults.expired_certificate,
        verdicts.nothing_lost(),
        choice=Choice("gateway", tls="tls"),
        tls_backends=True,
        sdks=True,
    ),
    Drill(
        "agent: the gateway's token changed, the agent's later",
        _ZERO,
        faults.rotated_token,
        verdicts.nothing_lost(),
        choice=Choice("agent", tls="tls", token=True),
        tls_backends=True,
        token_backends=True,
        sdks=True,
    ),
    Drill(
        "the collector's own certificate expired, then renewed",
        "the sender is told; otel-distro's spool keeps it; what was acknowledged arrives",
        faults.own_certificate_expired,
        verdicts.distro_loses_nothing,
        env=_QUICK_TLS,
        choice=Choice("agent", tls="tls", token=True),
        tls_backends=True,
        token_backends=True,
        sdks=True,
    ),
    Drill(
        "the collector's own token changed, and back",
        "401, for good: the sender is told and counts it; what was acknowledged arrives",
        faults.own_token_changed,
        verdicts.the_sender_is_told,
        choice=Choice("agent", tls="tls", token=True),
        tls_backends=True,
        token_backends=True,
        sdks=True,
    ),
    Drill(
        "clock two days forward, then back, Tempo away",
        _ZERO,
        faults.clock_jumps(faults.DAYS, -faults.DAYS, 0, code=14),
        verdicts.nothing_lost(),
    ),
    Drill(
        "clock two days forward, Tempo refusing for good",
        _ZERO,
        faults.clock_jumps(faults.DAYS, code=16),
        verdicts.nothing_lost(),
    ),
    Drill(
        "clock was two days ahead, then a restart with the right one",
        _ZERO,
        faults.clock_was_ahead,
        verdicts.nothing_lost(),
    ),
    Drill(
        "sampling: clock two days forward, then back, traces undecided",
        _ZERO,
        faults.clock_jumps(faults.DAYS, -faults.DAYS, 0),
        verdicts.nothing_lost(),
        env=_KEEP_ALL,
        choice=Choice("sampling"),
    ),
    Drill(
        "sampling: nothing breaks, a third is kept",
        "what is not there was sampled away, to the span",
        faults.many_traces,
        verdicts.sampled_away_counted,
        env=_QUICK_SAMPLER | {"OTELCOL_SAMPLING_PERCENT": "33"},
        choice=Choice("sampling"),
    ),
    Drill(
        "sampling: SIGTERM and start with traces undecided",
        _ZERO,
        faults.sampler_stopped,
        verdicts.nothing_lost(),
        env=_KEEP_ALL,
        choice=Choice("sampling"),
    ),
    Drill(
        "sampling: kill -9 with traces undecided",
        "what was undecided is lost, and counted to the span",
        faults.sampler_killed,
        verdicts.sampler_loss_counted,
        env=_KEEP_ALL,
        choice=Choice("sampling"),
    ),
    Drill(
        "collector kill -9 under load",
        "0 lost; duplicates at most the requests on the way",
        faults.collector_killed,
        verdicts.collector_killed(1),
        sdks=True,
        short=True,
    ),
    Drill(
        "collector SIGTERM and start under load",
        "0 lost; duplicates at most the requests on the way",
        faults.collector_stopped,
        verdicts.collector_killed(1),
        sdks=True,
    ),
    Drill(
        "collector kill -9 three times",
        "0 lost; duplicates at most the requests on the way",
        faults.collector_killed_thrice,
        verdicts.collector_killed(3),
        sdks=True,
    ),
    Drill(
        "Tempo's queue full",
        _LOST_IS_COUNTED,
        faults.full_queue,
        verdicts.healthy_whole_and_the_rest_counted(),
        env=_SMALL,
        sdks=True,
        short=True,
    ),
    Drill(
        "both queues full",
        "503, the sender keeps it; what was acknowledged arrives or is counted",
        faults.full_queues,
        verdicts.refused_but_nothing_lost,
        env=_SMALL,
    ),
    Drill(
        "both queues full for 14 s",
        "acknowledged: arrives once; refused: otel-distro's spool keeps it, upstream's SDK gives up",
        faults.refused_for_long,
        verdicts.distro_loses_nothing,
        env=_SMALL,
        sdks=True,
    ),
    Drill(
        "Tempo's queue file damaged", _LOST_IS_COUNTED, faults.damaged, verdicts.healthy_whole_and_the_rest_counted()
    ),
    Drill(
        "Tempo's queue file overwritten",
        _LOST_IS_COUNTED,
        faults.overwritten,
        verdicts.healthy_whole_and_the_rest_counted(),
    ),
    Drill(
        "queue files of an older collector (0.110.0)",
        "what it had queued arrives, once",
        faults.older_queues,
        verdicts.upgraded(faults.OLD_QUEUE),
        short=True,
    ),
    Drill(
        "a span of 5 MB among 20",
        "shortened, its neighbours whole",
        faults.oversized,
        verdicts.nothing_lost(),
        sdks=True,
        short=True,
    ),
    Drill("a body of 20 MB", "refused with 400 or 413, the others arrive", faults.huge_body, verdicts.nothing_lost()),
    Drill(
        "malformed protobuf",
        "refused with 400, the others arrive",
        faults.malformed,
        verdicts.nothing_lost(),
        short=True,
    ),
    Drill(
        "a flood past the memory limit",
        "503, the sender keeps it; what was acknowledged arrives",
        faults.flood,
        verdicts.refused_but_nothing_lost,
        env={"OTELCOL_QUEUE_BYTES": "1000000000"},
        arguments=(
            "--config=yaml:processors::memory_limiter::limit_mib: 60",
            "--config=yaml:processors::memory_limiter::spike_limit_mib: 20",
            "--config=yaml:processors::memory_limiter::check_interval: 100ms",
        ),
    ),
    Drill(
        "queues fill the disk, both backends away",
        "503, the sender keeps it; what was acknowledged arrives, once",
        faults.full_disk,
        verdicts.refused_and_nothing_lost,
        env={"OTELCOL_DISK_RESERVE_BYTES": "16000000"},
        # The file system is small, so a queue file is made smaller sooner.
        arguments=tuple(
            f"--config=yaml:extensions::file_storage/{backend}::compaction::rebound_{key}_threshold_mib: {size}"
            for backend in ("tempo", "jaeger")
            for key, size in (("needed", 2), ("trigger", 1))
        ),
        disk="36m",
        sdks=True,
    ),
    Drill(
        "somebody else fills the disk, both backends away",
        "503 or counted, to the span",
        faults.filled_disk,
        verdicts.refused_but_nothing_lost,
        env={"OTELCOL_DISK_RESERVE_BYTES": "1000000"},
        disk="24m",
        sdks=True,
    ),
)
