"""How spans are recorded, sampled and queued."""

from __future__ import annotations

from otel_distro.settings._values import MILLISECONDS, TEXT, integer, names
from otel_distro.settings._variable import Record, group, variable

_COUNT = integer(0, 1_000_000)
_SIZE = integer(1, 10_000_000)

SAMPLERS = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)


class Limits(Record):
    """Limits on what a span may hold; `None` is no limit."""

    attribute_count: int = variable("OTEL_ATTRIBUTE_COUNT_LIMIT", _COUNT, 128, "Most attributes of one thing.")
    attribute_length: int | None = variable(
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", _COUNT, None, "Longest attribute value, in characters."
    )
    span_attribute_count: int | None = variable(
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", _COUNT, None, "Most attributes of a span; else the general limit."
    )
    span_attribute_length: int | None = variable(
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        _COUNT,
        None,
        "Longest value of a span's attribute; else the general limit.",
    )
    event_count: int = variable("OTEL_SPAN_EVENT_COUNT_LIMIT", _COUNT, 128, "Most events of a span.")
    link_count: int = variable("OTEL_SPAN_LINK_COUNT_LIMIT", _COUNT, 128, "Most links of a span.")
    event_attribute_count: int | None = variable(
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", _COUNT, None, "Most attributes of an event; else the general limit."
    )
    link_attribute_count: int | None = variable(
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", _COUNT, None, "Most attributes of a link; else the general limit."
    )


class Batch(Record):
    """How finished items wait for export."""

    schedule_delay: int = variable("SCHEDULE_DELAY", integer(1, 86_400_000), 5000, "Milliseconds between two exports.")
    export_timeout: int = variable(
        "EXPORT_TIMEOUT",
        MILLISECONDS,
        30000,
        "Milliseconds one export may take, with `OTEL_DISTRO_PIPELINE=upstream` only; else "
        "`OTEL_EXPORTER_OTLP_TIMEOUT` bounds a request.",
    )
    max_queue_size: int = variable("MAX_QUEUE_SIZE", _SIZE, 2048, "Most items that wait; more are dropped and counted.")
    max_export_batch_size: int = variable("MAX_EXPORT_BATCH_SIZE", _SIZE, 512, "Most items in one export.")


class Traces(Record):
    """Tracing: who gets spans, which are sampled."""

    exporters: tuple[str, ...] = variable(
        "OTEL_TRACES_EXPORTER",
        names(),
        ("otlp",),
        "`otlp`, `console`, `none`, or installed exporters, as a list.",
    )
    sampler: str = variable("OTEL_TRACES_SAMPLER", TEXT, "parentbased_always_on", "Which traces are recorded.")
    sampler_arg: str | None = variable(
        "OTEL_TRACES_SAMPLER_ARG", TEXT, None, "The sampler's argument: a ratio 0..1 for `traceidratio`."
    )
    limits: Limits = group(Limits)
    batch: Batch = group(Batch, prefix="OTEL_BSP_")
