"""What a configuration is made of: a role, and the overlays on it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator

Role = Literal["agent", "gateway", "sampling", "ingest", "consume"]
Tls = Literal["none", "tls", "mtls"]
Metrics = Literal["otlp", "remote-write", "scrape"]
Logs = Literal["none", "otlp", "file", "otlp+file"]
Detect = Literal["none", "host", "kubernetes"]

ROLES: tuple[Role, ...] = get_args(Role)

#: What each role is for, for the heading of its files.
PURPOSES: dict[Role, str] = {
    "agent": "beside the application or one a node: receive, limit, queue on disk, forward to a gateway",
    "gateway": "receive, limit, queue on disk for each backend, span metrics; traces to Tempo and to Jaeger",
    "sampling": "a gateway that keeps whole traces by what is in them; span metrics are computed before",
    "ingest": "receive, limit, write traces to Kafka by trace id, so that each consumer sees whole traces",
    "consume": "read whole traces from Kafka as one of a group, sample them, queue on disk for each backend",
}

#: Roles that have traces only: metrics and logs need no whole traces, and go to a gateway.
TRACES_ONLY: tuple[Role, ...] = ("ingest", "consume")


class Unfit(ValueError):
    """A combination that would be wrong to run; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One configuration.

    Attributes:
        role: what the collector is there for.
        tls: for what it receives and what it sends; `mtls` asks senders for a certificate, and shows one.
        token: senders need a bearer token; an agent shows one to its gateway.
        redaction: personal data is removed before anything is queued.
        sentry: spans go to Sentry as well.
        metrics: the way to Prometheus; of no meaning for an agent, which forwards.
        logs: where logs go; an agent forwards them unless `none`.
        detect: what an agent says of the place that senders run in: the host, or pod and node. It needs the agent's own build.

    Raises:
        Unfit: the parts do not belong together.
    """

    role: Role
    tls: Tls = "none"
    token: bool = False
    redaction: bool = False
    sentry: bool = False
    metrics: Metrics = "otlp"
    logs: Logs = "none"
    detect: Detect = "none"

    def __post_init__(self) -> None:
        if self.token and self.tls == "none" and self.role != "consume":
            raise Unfit(
                "a bearer token needs TLS: in plain text everybody on the way reads it, and gRPC refuses to send it"
            )
        if self.sentry and self.role in ("agent", "ingest"):
            raise Unfit(
                f"{self.role} forwards everything to one place; spans go to Sentry from gateway, sampling or consume"
            )
        if self.role in TRACES_ONLY and self.logs != "none":
            raise Unfit(f"{self.role} handles traces; logs go through a gateway")
        if self.role in ("agent", "ingest") and self.metrics != "otlp":
            raise Unfit(f"{self.role} forwards; the way to Prometheus is the gateway's choice")
        if self.role == "agent" and self.logs not in ("none", "otlp"):
            raise Unfit("an agent forwards logs by OTLP; files are the gateway's choice")
        if self.role != "agent" and self.detect != "none":
            raise Unfit(
                f"{self.role} is elsewhere than the senders: their host and pod are known to the agent beside them"
            )
        if self.role == "consume" and self.token:
            raise Unfit("consume receives from Kafka alone; there is nobody to show a token")

    @property
    def name(self) -> str:
        """`gateway-mtls-token-redaction-sentry-remote-write-logs-file`: the role and what differs from the defaults."""
        parts: list[str] = [self.role]
        parts += [self.detect] if self.detect != "none" else []
        parts += [self.tls] if self.tls != "none" else []
        parts += [flag for flag in ("token", "redaction", "sentry") if getattr(self, flag)]
        parts += [self.metrics] if self.metrics != "otlp" else []
        parts += [f"logs-{self.logs.replace('+', '-')}"] if self.logs != "none" else []
        return "-".join(parts)


def every_choice() -> Iterator[Choice]:
    """All combinations that fit together."""
    flags = (False, True)
    for parts in product(
        ROLES, get_args(Tls), flags, flags, flags, get_args(Metrics), get_args(Logs), get_args(Detect)
    ):
        try:
            yield Choice(*parts)
        except Unfit:
            continue


#: The files in collector/configs/: each role plain, each role as it goes into production, each overlay at least once.
COMMITTED: tuple[Choice, ...] = (
    *(Choice(role) for role in ROLES),
    Choice("agent", tls="mtls", token=True, redaction=True, logs="otlp"),
    Choice("agent", detect="host"),
    Choice("agent", detect="kubernetes"),
    Choice("agent", tls="mtls", token=True, redaction=True, logs="otlp", detect="kubernetes"),
    Choice("gateway", tls="tls", token=True, redaction=True, logs="otlp"),
    Choice("gateway", tls="mtls", token=True, redaction=True, sentry=True, metrics="remote-write", logs="otlp+file"),
    Choice("gateway", metrics="scrape", logs="file"),
    Choice("sampling", tls="tls", token=True, redaction=True, sentry=True),
    Choice("ingest", tls="tls", token=True, redaction=True),
    Choice("consume", tls="tls", sentry=True),
)
