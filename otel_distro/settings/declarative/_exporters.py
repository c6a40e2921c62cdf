"""Processors, readers and exporters of a document as variables: one queue and one OTLP exporter a signal."""

from __future__ import annotations

from urllib.parse import quote

from ._node import Found, Node

_NAMED = {"prometheus/development": "prometheus", "otlp_http/development": "otlp_http"}


def processors(node: Node | None, found: Found, signal: str, batch: str) -> None:
    """The processors of a tracer or logger provider.

    Args:
        node: the provider; None where the document has none, which is no telemetry of that signal.
        found: gets the variables.
        signal: `TRACES` or `LOGS`.
        batch: prefix of the queue's variables.
    """
    names: list[str] = []
    queued = False
    for processor in node.children("processors") if node is not None else ():
        for kind in ("batch", "simple"):
            options = processor.child(kind)
            if options is None:
                continue
            if kind == "simple":
                found.unsupported(processor.at(kind), "nothing is exported one by one", "a batch processor is used")
            exporter = options.child("exporter")
            name = None if exporter is None else _exporter(exporter, found, signal, names)
            if not queued and kind == "batch":
                queued = True
                options.copy_to(
                    batch,
                    schedule_delay="SCHEDULE_DELAY",
                    export_timeout="EXPORT_TIMEOUT",
                    max_queue_size="MAX_QUEUE_SIZE",
                    max_export_batch_size="MAX_EXPORT_BATCH_SIZE",
                )
            options.done("the first queue's settings hold for every queue of the signal" if queued else "not supported")
            names += [name] if name is not None else []
        processor.done()
    origin = signal.lower() if node is None else node.at("processors")
    found.set(f"OTEL_{signal}_EXPORTER", ",".join(names) or "none", origin)


def meter_provider(node: Node | None, found: Found) -> None:
    """The readers of the meter provider, and what is beside them."""
    names: list[str] = []
    for reader in node.children("readers") if node is not None else ():
        for kind in ("periodic", "pull"):
            options = reader.child(kind)
            if options is None:
                continue
            options.copy_to("OTEL_METRIC_EXPORT_", interval="INTERVAL", timeout="TIMEOUT")
            exporter = options.child("exporter")
            name = None if exporter is None else _exporter(exporter, found, "METRICS", names)
            names += [name] if name is not None else []
            options.done()
        reader.done()
    origin = "meter_provider" if node is None else node.at("readers")
    found.set("OTEL_METRICS_EXPORTER", ",".join(names) or "none", origin)
    if node is not None:
        node.copy_to("OTEL_METRICS_", exemplar_filter="EXEMPLAR_FILTER")
        node.done()


def _exporter(node: Node, found: Found, signal: str, before: list[str]) -> str | None:
    """The exporter's name for `OTEL_*_EXPORTER`; None where it cannot be had."""
    kind = next(iter(node.keys()), None)
    if kind is None:
        found.unsupported(node.path, "no exporter is named")
        return None
    options = node.child(kind) or Node(None, node.path, found)
    node.done("one exporter a processor")
    kind = _NAMED.get(kind, kind)
    if kind in {"otlp_http", "otlp_grpc"}:
        return _otlp(options, found, signal, before, grpc=kind == "otlp_grpc")
    if kind == "prometheus":
        options.copy_to("OTEL_EXPORTER_PROMETHEUS_", host="HOST", port="PORT")
    elif "/" in kind:
        found.unsupported(options.path, "no such exporter")
        return None
    options.done(
        "not supported" if kind in {"prometheus", "console"} else "an installed exporter reads its own variables"
    )
    return kind


def _otlp(options: Node, found: Found, signal: str, before: list[str], *, grpc: bool) -> str | None:
    if "otlp" in before:
        found.unsupported(options.path, "one OTLP exporter a signal; a collector sends to several")
        return None
    prefix = f"OTEL_EXPORTER_OTLP_{signal}_"
    encoding = options.take("encoding")
    protocol = "grpc" if grpc else "http/json" if encoding == "json" else "http/protobuf"
    found.set(f"{prefix}PROTOCOL", protocol, options.path)
    options.copy_to(prefix, endpoint="ENDPOINT", compression="COMPRESSION", timeout="TIMEOUT")
    if signal == "METRICS":
        options.copy_to(
            prefix,
            temporality_preference="TEMPORALITY_PREFERENCE",
            default_histogram_aggregation="DEFAULT_HISTOGRAM_AGGREGATION",
        )
    tls = options.child("tls")
    if tls is not None:
        tls.copy_to(
            prefix, ca_file="CERTIFICATE", key_file="CLIENT_KEY", cert_file="CLIENT_CERTIFICATE", insecure="INSECURE"
        )
        tls.done()
    headers = _headers(options)
    if headers:
        found.set(f"{prefix}HEADERS", headers, options.at("headers"))
    options.done()
    return "otlp"


def _headers(options: Node) -> str:
    """`headers_list` first, then single headers, which win."""
    entries = [listed] if (listed := options.take("headers_list")) else []
    for header in options.children("headers"):
        name, value = header.take("name"), header.take("value")
        header.done()
        if name is not None and value is not None:
            entries.append(f"{quote(name)}={quote(value)}")
    return ",".join(entries)
