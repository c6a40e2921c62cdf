"""Roles: which components stand where. The result is a dictionary with comments, see `text`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scripts.collectorgen import detect, kafka, metrics, parts
from scripts.collectorgen.choices import PURPOSES
from scripts.collectorgen.sampler import tail_sampling
from scripts.collectorgen.text import yaml_text

if TYPE_CHECKING:
    from scripts.collectorgen.choices import Choice

_BACKENDS = {
    "tempo": "${env:TEMPO_OTLP_ENDPOINT:-127.0.0.1:4327}",
    "jaeger": "${env:JAEGER_OTLP_ENDPOINT:-127.0.0.1:4337}",
}
_GATEWAY = "${env:OTELCOL_GATEWAY_ENDPOINT:-127.0.0.1:14317}"
_KINDS = ("extensions", "receivers", "processors", "connectors", "exporters")


class Build:
    """A configuration in the making: parts are added once, and every extension is enabled that is added."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.components: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
        self.pipelines: dict[str, Any] = {}
        self.extension("health_check", parts.health())
        self.extension("ledger", parts.ledger())

    def extension(self, name: str, settings: parts.Settings) -> None:
        """Add an extension; one that is not in service.extensions fails only at the start."""
        self.components["extensions"].setdefault(name, settings)

    def add(self, kind: str, name: str, settings: parts.Settings) -> str:
        """Add a component and give its name."""
        self.components[kind].setdefault(name, settings)
        return name

    def receiver(self) -> str:
        """The OTLP receiver with what guards it."""
        if self.choice.token:
            self.extension("bearertokenauth/in", parts.token_in())
        return self.add("receivers", "otlp", parts.otlp_receiver(tls=self.choice.tls, token=self.choice.token))

    def entrance(self) -> list[str]:
        """Processors of a pipeline that receives: the limiter first, personal data out before anything is queued."""
        names = [self.add("processors", "memory_limiter", parts.memory_limiter())]
        names += self._detectors()
        if self.choice.redaction:
            names.append(self.add("processors", "redaction", parts.redaction()))
        return names

    def _detectors(self) -> list[str]:
        """Before anything that forgets whose connection it was."""
        if self.choice.detect == "none":
            return []
        if self.choice.detect == "host":
            return [self.add("processors", "resource_detection", detect.host(detectors="[env, system]"))]
        pod = self.add("processors", "k8s_attributes", detect.pod())
        # `system` would take the agent's pod for the host.
        return [pod, self.add("processors", "resource_detection", detect.host(detectors="[env]"))]

    def queue(self, name: str) -> None:
        """The store and the parking place of one exporter."""
        self.extension(f"file_storage/{name}", parts.storage(name))
        self.extension(f"park/{name}", parts.park(name))

    def pipeline(
        self, name: str, receivers: list[str], processors: list[str], exporters: list[str], *, why: str = ""
    ) -> None:
        """One pipeline, with the reason for it as a comment."""
        if why:
            self.pipelines[f"#{name}"] = why
        middle = {"processors": processors} if processors else {}
        self.pipelines[name] = {"receivers": receivers, **middle, "exporters": exporters}

    def document(self) -> dict[str, Any]:
        """The whole configuration; a section without components is left out."""
        self._share()
        sections = {kind: found for kind, found in self.components.items() if found}
        return sections | {
            "service": {
                "extensions": list(self.components["extensions"]),
                "telemetry": parts.telemetry(remote_write="prometheus_remote_write" in sections.get("exporters", {})),
                "pipelines": self.pipelines,
            }
        }

    def _share(self) -> None:
        """Say of each connector which branches change nothing: every exporter writes to disk, and no processor stands before."""
        pipelines = {name: found for name, found in self.pipelines.items() if not name.startswith("#")}
        queues = {name: found.get("sending_queue", {}) for name, found in self.components["exporters"].items()}
        for name, settings in self.components["connectors"].items():
            stored = [
                branch
                for branch, found in pipelines.items()
                if name in found["receivers"]
                and "processors" not in found
                and all("storage" in queues.get(exporter, {}) for exporter in found["exporters"])
            ]
            if name.partition("/")[0] == "isolate" and stored:
                settings["#stored"] = (
                    "Written to disk before they answer: they share a batch and its encoding, where others get a copy."
                )
                settings["stored"] = stored


def configuration(choice: Choice) -> dict[str, Any]:
    """The configuration of a choice, with its comments."""
    build = Build(choice)
    _ROLES[choice.role](build)
    return build.document()


def configuration_text(choice: Choice) -> str:
    """The file of a choice."""
    manifest = "manifest.yaml" if choice.detect == "none" else "manifest-agent.yaml"
    heading = (
        f"{choice.name}: {PURPOSES[choice.role]}.\n\n"
        "Generated by scripts/collector-config, do not edit: change scripts/collectorgen and generate it again.\n"
        f"Needs the build of collector/{manifest}: `isolate`, `ledger` and `park` are ours (docs/collector.md).\n"
        "Every ${env:NAME:-default} may be set; leave a variable unset rather than empty, an empty one gets no default."
    )
    return yaml_text(configuration(choice), heading)


def _agent(build: Build) -> None:
    receiver, entrance = build.receiver(), build.entrance()
    choice = build.choice
    if choice.token:
        build.extension("bearertokenauth/out", parts.token_out())
    build.queue("gateway")
    exporter = parts.otlp_exporter("gateway", _GATEWAY, tls=choice.tls, token=choice.token)
    build.add("exporters", "otlp_grpc/gateway", exporter)
    _isolated(build, "traces", receiver, entrance, {"gateway": "otlp_grpc/gateway"})
    _isolated(build, "metrics", receiver, entrance, {"gateway": "otlp_grpc/gateway"})
    if choice.logs != "none":
        _isolated(build, "logs", receiver, entrance, {"gateway": "otlp_grpc/gateway"})


def _gateway(build: Build) -> None:
    receiver, entrance = build.receiver(), build.entrance()
    followers = _followers(build)
    _isolated(build, "traces", receiver, entrance, _backends(build), followers=followers)
    _metrics(build, receiver, entrance)
    _logs(build, receiver, entrance)


def _sampling(build: Build) -> None:
    receiver, entrance = build.receiver(), build.entrance()
    _sampled(build, receiver, entrance)
    _metrics(build, receiver, entrance)
    _logs(build, receiver, entrance)


def _ingest(build: Build) -> None:
    receiver, entrance = build.receiver(), build.entrance()
    build.extension("file_storage/kafka", parts.storage("kafka"))
    build.add("exporters", "kafka", kafka.exporter(tls=build.choice.tls))
    _isolated(build, "traces", receiver, entrance, {"kafka": "kafka"})


def _consume(build: Build) -> None:
    receiver = build.add("receivers", "kafka_traces", kafka.receiver(tls=build.choice.tls))
    _sampled(build, receiver, build.entrance())
    _metrics(build, None, [])


def _isolated(
    build: Build,
    signal: str,
    receiver: str,
    entrance: list[str],
    backends: dict[str, str],
    *,
    followers: tuple[str, ...] = (),
) -> None:
    """A fan-out whose branches cannot hurt each other."""
    settings: parts.Settings = {
        "#max_span_bytes": "A larger span is truncated, or dropped alone: it would take its whole batch along.",
        "max_span_bytes": 3000000,
        **parts.room(),
    }
    if followers:
        settings["#followers"] = "Fed once a backend has accepted; their refusal never makes a sender come again."
        settings |= _following(followers)
    connector = build.add("connectors", "isolate", settings)
    build.pipeline(signal, [receiver], entrance, [connector])
    for name, exporter in backends.items():
        build.pipeline(f"{signal}/{name}", [connector], [], [exporter])
    _feed(build, connector, followers)


def _sampled(build: Build, receiver: str, entrance: list[str]) -> None:
    """Everything is counted by span metrics, then whole traces are kept or not, then fanned out."""
    everything, kept = "isolate/everything", "isolate/kept"
    build.add(
        "connectors",
        everything,
        {
            "max_span_bytes": 3000000,
            "#followers": "Requests are counted before any is sampled away.",
            "followers": ["traces/red"],
            **parts.room(),
        },
    )
    followers = tuple(name for name in _followers(build) if name != "traces/red")
    build.add(
        "connectors",
        kept,
        {
            "#leaves": "What arrives here has left the sampler's account in the ledger.",
            "leaves": "sampler",
            "max_span_bytes": 0,
            **_following(followers),
        },
    )
    build.pipeline("traces", [receiver], entrance, [everything])
    build.add("processors", "tail_sampling", tail_sampling())
    why = "Whole traces, kept in memory until decided."
    build.pipeline("traces/sampler", [everything], ["tail_sampling"], [kept], why=why)
    for name, exporter in _backends(build).items():
        build.pipeline(f"traces/{name}", [kept], [], [exporter])
    _feed(build, everything, ("traces/red",))
    _feed(build, kept, followers)


def _backends(build: Build) -> dict[str, str]:
    """Tempo and Jaeger."""
    for name, endpoint in _BACKENDS.items():
        build.queue(name)
        build.add("exporters", f"otlp_grpc/{name}", parts.otlp_exporter(name, endpoint, tls=build.choice.tls))
    return {name: f"otlp_grpc/{name}" for name in _BACKENDS}


def _followers(build: Build) -> tuple[str, ...]:
    return ("traces/red", "traces/sentry") if build.choice.sentry else ("traces/red",)


def _following(followers: tuple[str, ...]) -> parts.Settings:
    """Followers of a connector; Sentry's exporter counts what it delivers, span metrics deliver nothing."""
    accounts = [name for name in followers if name == "traces/sentry"]
    return ({"followers": list(followers)} if followers else {}) | ({"accounts": accounts} if accounts else {})


def _feed(build: Build, connector: str, followers: tuple[str, ...]) -> None:
    """Pipelines of the followers."""
    if "traces/red" in followers:
        build.add("connectors", "span_metrics", parts.span_metrics())
        build.pipeline("traces/red", [connector], [], ["span_metrics"])
    if "traces/sentry" in followers:
        stamp = build.add("processors", "transform/sentry", parts.sentry_stamp())
        build.extension("park/sentry", parts.counted("a quota is money."))
        exporter = build.add("exporters", "otlp_http/sentry", parts.sentry_exporter())
        build.pipeline("traces/sentry", [connector], [stamp], [exporter])


def _metrics(build: Build, receiver: str | None, entrance: list[str]) -> None:
    """Metrics of applications, where they come here, and span metrics."""
    exporter = _metrics_exporter(build)
    way = exporter
    if build.choice.metrics == "otlp":  # the one way that says what arrived, and so has an account in the ledger
        way = build.add("connectors", "isolate/metrics", {"max_span_bytes": 0, **parts.room()})
    resource = build.add("processors", "transform/red", parts.red_resource())
    build.pipeline("metrics/red", ["span_metrics"], [resource], [way])
    if receiver:
        build.pipeline("metrics", [receiver], entrance, [way])
    if way != exporter:
        build.pipeline("metrics/prometheus", [way], [], [exporter])


def _metrics_exporter(build: Build) -> str:
    scheme = "http" if build.choice.tls == "none" else "https"
    if build.choice.metrics == "scrape":
        return build.add("exporters", "prometheus", metrics.page(tls=build.choice.tls))
    if build.choice.metrics == "remote-write":
        return build.add("exporters", "prometheus_remote_write", metrics.remote_write(scheme, tls=build.choice.tls))
    build.extension("file_storage/prometheus", parts.storage("prometheus"))
    build.extension("park/prometheus", parts.counted("points would arrive behind younger ones of their series."))
    return build.add("exporters", "otlp_http/prometheus", metrics.otlp(scheme, tls=build.choice.tls))


def _logs(build: Build, receiver: str, entrance: list[str]) -> None:
    """Logs to an OTLP store, to files, or to both."""
    wanted = build.choice.logs
    backends: dict[str, str] = {}
    if "otlp" in wanted:
        build.queue("logs")
        endpoint = "${env:LOGS_OTLP_ENDPOINT:-127.0.0.1:4347}"
        exporter = parts.otlp_exporter("logs", endpoint, tls=build.choice.tls)
        backends["logs"] = build.add("exporters", "otlp_grpc/logs", exporter)
    if "file" in wanted:
        backends["file"] = build.add(
            "exporters",
            "file",
            {
                "#path": "One JSON object a line; rotated, so that it never fills the disk.",
                "path": f"{parts.STORAGE}/logs/logs.json",
                "create_directory": True,
                "rotation": {"max_megabytes": 100, "max_backups": 10, "max_days": 7},
                "flush_interval": "1s",
            },
        )
    if backends:
        build.add("connectors", "isolate/logs", {"max_span_bytes": 0, **parts.room()})
        build.pipeline("logs", [receiver], entrance, ["isolate/logs"])
        for name, exporter in backends.items():
            build.pipeline(f"logs/{name}", ["isolate/logs"], [], [exporter])


_ROLES = {"agent": _agent, "gateway": _gateway, "sampling": _sampling, "ingest": _ingest, "consume": _consume}
