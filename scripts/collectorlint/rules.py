"""The rules. Each is a generator of findings over one configuration; `RULES` is all of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from scripts.collectorlint.model import expanded, kind, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scripts.collectorlint.model import Config, Finding

_GRPC_LIMIT = 4 * 1024 * 1024
_QUEUED = re.compile(
    r"otlp|otlphttp|otlp_grpc|otlp_http|kafka|elasticsearch|clickhouse|loki|splunk_hec|datadog|zipkin|awsxray"
)
_SAMPLERS = ("tail_sampling", "tailsampling", "probabilistic_sampler", "filter")
_HOLDING = ("tail_sampling", "tailsampling", "group_by_trace", "groupbytrace")
_SPAN_METRICS = ("span_metrics", "spanmetrics")
_PASSING = ("/tmp", "/dev/shm", "/run", "/var/run")  # noqa: S108 - looked for, not used
_WORLD = re.compile(r"(0\.0\.0\.0|\[::\]|)(:\d+)?")
_OUTSIDE = (
    "otlp",
    "jaeger",
    "zipkin",
    "opencensus",
    "kafka",
    "prometheus_remote_write",
    "syslog",
    "tcplog",
    "fluentforward",
)


def limiter_first(config: Config) -> Iterator[Finding]:
    """Data that comes in meets the memory limiter before anything else."""
    connectors = config.section("connectors")
    for name, pipeline in config.pipelines():
        if all(receiver in connectors for receiver in listed(pipeline, "receivers")):
            continue
        processors = listed(pipeline, "processors")
        if not processors or kind(processors[0]) != "memory_limiter":
            there = any(kind(processor) == "memory_limiter" for processor in processors)
            yield config.finding(
                ("service", "pipelines", name, "processors"),
                "limiter-first",
                f"pipeline {name}: memory_limiter is {'not first' if there else 'missing'}, so a flood ends the collector by the kernel",
                remedy="processors: [memory_limiter, ...], and GOMEMLIMIT at 80 % of the container's limit",
                source="memorylimiterprocessor README; opentelemetry-collector#5321",
            )


def retry_without_end(config: Config) -> Iterator[Finding]:
    """An outage longer than max_elapsed_time drops what is queued; the default is 5 minutes."""
    for name, settings in config.items("exporters"):
        if not _QUEUED.fullmatch(kind(name)) or name not in config.exporters_in_use():
            continue
        retry = settings.get("retry_on_failure", {})
        retry = retry if isinstance(retry, dict) else {}
        limit = expanded(retry.get("max_elapsed_time", "300s (the default)"))
        if retry.get("enabled") is False:
            limit = "the first failure (retries are off)"
        if str(limit) in ("0", "0s"):
            continue
        yield config.finding(
            ("exporters", name, "retry_on_failure", "max_elapsed_time"),
            "retry-gives-up",
            f"exporter {name} drops a batch after {limit}: an outage that is longer loses data",
            remedy="retry_on_failure: {max_elapsed_time: 0}, with a bounded queue on disk; leave the limit where a quota is money",
            source="exporterhelper README, retry_on_failure",
        )


def queue_on_disk(config: Config) -> Iterator[Finding]:
    """What waits in memory is gone with the process."""
    for name, settings in config.items("exporters"):
        if not _QUEUED.fullmatch(kind(name)) or name not in config.exporters_in_use():
            continue
        queue = settings.get("sending_queue")
        queue = queue if isinstance(queue, dict) else {}
        if queue.get("storage"):
            continue
        yield config.finding(
            ("exporters", name, "sending_queue"),
            "queue-in-memory",
            f"exporter {name} queues in memory: a restart loses what waits",
            remedy="sending_queue: {storage: file_storage/NAME}, one file_storage a backend, enabled in service.extensions",
            source="exporterhelper README, persistent queue",
        )


def batch_below_limit(config: Config) -> Iterator[Finding]:
    """gRPC servers refuse messages above 4 MiB for good, and the batch is dropped."""
    for name, settings in config.items("exporters"):
        queue = settings.get("sending_queue")
        batch = queue.get("batch") if isinstance(queue, dict) else None
        if not isinstance(batch, dict):
            continue
        sizer = batch.get("sizer", queue.get("sizer", "items") if isinstance(queue, dict) else "items")
        largest = expanded(batch.get("max_size", 0))
        bounded = str(largest).isdigit() and 0 < int(largest) < _GRPC_LIMIT
        if sizer != "bytes" or not bounded:
            yield config.finding(
                ("exporters", name, "sending_queue", "batch", "max_size"),
                "batch-too-large",
                f"exporter {name} may build a batch above the 4 MiB that gRPC servers accept; it is then dropped after one attempt",
                remedy="batch: {sizer: bytes, min_size: 1000000, max_size: 3500000}",
                source="grpc-go MaxRecvMsgSize; gardener#14108",
            )
    for name, settings in config.items("processors"):
        if kind(name) == "batch" and not settings.get("send_batch_max_size"):
            yield config.finding(
                ("processors", name),
                "batch-too-large",
                f"processor {name} has no send_batch_max_size: a burst becomes one message that gRPC servers refuse",
                remedy="batch in the exporter: sending_queue.batch in bytes; the batch processor is deprecated",
                source="opentelemetry-collector docs/rfcs/batching-migration.md",
            )


def no_blocking_fan_out(config: Config) -> Iterator[Finding]:
    """A queue that blocks stops its siblings."""
    exporters = config.section("exporters")
    for name, pipeline in config.pipelines():
        members = listed(pipeline, "exporters")
        for exporter in members if len(members) > 1 else []:
            queue = (exporters.get(exporter) or {}).get("sending_queue")
            if isinstance(queue, dict) and queue.get("block_on_overflow") is True:
                yield config.finding(
                    ("exporters", exporter, "sending_queue", "block_on_overflow"),
                    "blocking-fan-out",
                    f"exporter {exporter} blocks when its queue is full, and with it everything else in pipeline {name}",
                    remedy="block_on_overflow: false",
                    source="opentelemetry-collector-contrib#31775",
                )


def isolated_fan_out(config: Config) -> Iterator[Finding]:
    """One full queue makes the sender send again, and the healthy branch stores it twice."""
    connectors, exporters = config.section("connectors"), config.section("exporters")
    for name, pipeline in config.pipelines():
        members = listed(pipeline, "exporters")
        if sum(member in exporters for member in members) > 1:
            yield config.finding(
                ("service", "pipelines", name, "exporters"),
                "fan-out-duplicates",
                f"pipeline {name} fans out to {', '.join(members)}: when one queue is full, the sender sends again and the others store it twice",
                remedy="the connector `isolate` of this build, or queues that outlast an outage and an alert at 60 %",
                source="opentelemetry-collector#6961",
            )
        counted = [member for member in members if kind(member) in _SPAN_METRICS and member in connectors]
        if counted and len(members) > 1:
            yield config.finding(
                ("service", "pipelines", name, "exporters"),
                "span-metrics-doubled",
                f"pipeline {name}: {counted[0]} stands beside exporters, so what is sent again is counted again",
                remedy="a pipeline of its own behind the connector `forward`, or a follower of `isolate`",
                source="opentelemetry-collector#6961",
            )


def span_metrics_before_sampling(config: Config) -> Iterator[Finding]:
    """Metrics of sampled spans count what was kept, not what happened."""
    feeds = dict(config.pipelines())
    for name, pipeline in feeds.items():
        if not any(kind(member) in _SPAN_METRICS for member in listed(pipeline, "exporters")):
            continue
        for before in (name, *_upstream_of(name, feeds)):
            for processor in listed(feeds[before], "processors"):
                if kind(processor) in _SAMPLERS:
                    yield config.finding(
                        ("service", "pipelines", before, "processors"),
                        "span-metrics-sampled",
                        f"span metrics of pipeline {name} stand behind {processor}: rates and error ratios are those of what was kept",
                        remedy="span metrics in a branch before the sampler",
                        source="spanmetricsconnector README",
                    )


def offsets_behind_decisions(config: Config) -> Iterator[Finding]:
    """A committed offset says that a message is dealt with; a sampler still holds it, in memory."""
    feeds = dict(config.pipelines())
    for name, pipeline in feeds.items():
        holding = [processor for processor in listed(pipeline, "processors") if kind(processor) in _HOLDING]
        for before in (name, *_upstream_of(name, feeds)) if holding else ():
            for receiver in listed(feeds[before], "receivers"):
                if kind(receiver) == "kafka":
                    yield config.finding(
                        ("receivers", receiver),
                        "kafka-before-sampler",
                        f"{receiver} commits what {holding[0]} holds in memory: kill -9 loses every trace that is undecided",
                        remedy="the receiver kafka_traces of this build, which commits behind the decision; or accept that loss",
                        source="measured with 0.155.0: 196 of 200 traces lost; docs/collector.md, Kafka as the engine",
                    )


def _upstream_of(name: str, pipelines: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Pipelines whose connectors feed this one, at any distance."""
    seen, waiting = {name}, [name]
    while waiting:
        receivers = set(listed(pipelines[waiting.pop()], "receivers"))
        for other, pipeline in pipelines.items():
            if other not in seen and receivers & set(listed(pipeline, "exporters")):
                seen.add(other)
                waiting.append(other)
                yield other


def span_metrics_of_replicas(config: Config) -> Iterator[Finding]:
    """Several collectors that write one series overwrite each other: each must name itself, and nothing may take that away."""
    if config.replicas == 1:
        return
    who = f"{config.replicas} collectors or more" if config.replicas else "replicas"
    for name, settings in config.items("connectors"):
        if kind(name) not in _SPAN_METRICS:
            continue
        excluded = "collector.instance.id" in listed(settings, "exclude_dimensions")
        for path, what in (
            *(
                [(("connectors", name), f"{name} leaves collector.instance.id out")]
                if excluded or config.nameless
                else ()
            ),
            *(
                ((("processors", taker)), f"{taker} takes collector.instance.id away")
                for taker in _takers(config, name)
            ),
        ):
            yield config.finding(
                path,
                "span-metrics-replicas",
                f"{what}: {who} write the same series, and counters jump",
                remedy="keep collector.instance.id, and sum over it in queries; or one replica for this pipeline",
                source="opentelemetry-collector-contrib#21101, #33136; spanmetricsconnector README",
            )


def _takers(config: Config, connector: str) -> Iterator[str]:
    """Processors behind span metrics that remove the collector's own id from the points."""
    for _, pipeline in config.pipelines():
        for processor in listed(pipeline, "processors") if connector in listed(pipeline, "receivers") else []:
            said = str(config.section("processors").get(processor))
            if "collector.instance.id" in said and ("delete" in said or "remove" in said):
                yield processor


def queue_that_stays(config: Config) -> Iterator[Finding]:
    """A queue in a directory that goes with the pod or the boot."""
    for name, settings in config.items("extensions"):
        if kind(name) != "file_storage":
            continue
        directory = str(expanded(settings.get("directory", "/var/lib/otelcol/file_storage")))
        for passing in (*_PASSING, *config.ephemeral):
            if directory == passing or directory.startswith(passing.rstrip("/") + "/"):
                what = "an emptyDir" if passing in config.ephemeral else "a directory that is emptied"
                yield config.finding(
                    ("extensions", name, "directory"),
                    "queue-not-kept",
                    f"{name} keeps its queue in {directory}, {what}: it goes with the pod",
                    remedy="a volume of its own: StatefulSet with volumeClaimTemplates, or a host path",
                    source="filestorage README",
                )


def no_open_door(config: Config) -> Iterator[Finding]:
    """A receiver that everybody can reach, without a login."""
    for name, settings in config.items("receivers"):
        if kind(name) not in _OUTSIDE:
            continue
        for path, node in _endpoints(settings):
            endpoint = str(expanded(node.get("endpoint", "")))
            if not endpoint or not _WORLD.fullmatch(endpoint):
                continue
            mutual = isinstance(node.get("tls"), dict) and node["tls"].get("client_ca_file")
            if not node.get("auth") and not mutual:
                yield config.finding(
                    ("receivers", name, *path, "endpoint"),
                    "open-receiver",
                    f"receiver {name} listens on {endpoint} and asks nobody who they are",
                    remedy="127.0.0.1 or the pod's address; else auth: {authenticator: bearertokenauth} or tls.client_ca_file",
                    source="opentelemetry.io/docs/security/config-best-practices",
                )


def _endpoints(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if "endpoint" in node:
        yield path, node
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _endpoints(value, (*path, key))


def pinned_metric_names(config: Config) -> Iterator[Finding]:
    """Since 0.152 a reader's defaults drop _total and _seconds, which every published rule asks for."""
    readers = config.section("service", "telemetry", "metrics").get("readers")
    path: tuple[str | int, ...] = ("service", "telemetry", "metrics")
    pulls: list[tuple[tuple[str | int, ...], Any]] = []
    for place, reader in enumerate(readers if isinstance(readers, list) else []):
        pull = reader.get("pull") if isinstance(reader, dict) else None
        exporter = pull.get("exporter") if isinstance(pull, dict) else None
        if isinstance(exporter, dict) and "prometheus" in exporter:
            pulls.append(((*path, "readers", place), exporter["prometheus"] or {}))
    for where, settings in pulls:
        loose = [key for key in ("without_type_suffix", "without_units") if settings.get(key) is not False]
        if loose:
            yield config.finding(
                where,
                "metric-names",
                f"{' and '.join(loose)} not set: the collector's own metrics lose _total and units, and rules that ask for them never fire",
                remedy="without_type_suffix: false, without_units: false, without_scope_info: true",
                source="opentelemetry-collector#13867",
            )


def enabled_stores(config: Config) -> Iterator[Finding]:
    """An extension that is not enabled fails at the start, which `validate` does not see."""
    enabled = listed(config.section("service"), "extensions")
    for name, _ in config.items("extensions"):
        if name not in enabled:
            yield config.finding(
                ("extensions", name),
                "extension-not-enabled",
                f"{name} is not in service.extensions: whatever names it fails at the start, and `validate` does not say so",
                remedy=f"service: {{extensions: [..., {name}]}}",
                source="measured with 0.155.0",
            )


RULES: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    limiter_first,
    retry_without_end,
    queue_on_disk,
    batch_below_limit,
    no_blocking_fan_out,
    isolated_fan_out,
    span_metrics_before_sampling,
    span_metrics_of_replicas,
    offsets_behind_decisions,
    queue_that_stays,
    no_open_door,
    pinned_metric_names,
    enabled_stores,
)
