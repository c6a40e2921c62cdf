"""The text of /metrics: what upstream's exporter says where that is right, the specification where it is not."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider
from otel_distro.metrics.source import LocalSource
from otel_distro.prometheus import Renderer, Scraper, names

RESOURCE = Resource({"service.name": "checkout", "service.instance.id": "7", "a.b": 1, "a/b": ["x"], "text": 'q"\\\n'})

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Exposed:
    """A provider and its texts."""

    def __init__(self, *, scope_labels: bool = True, **options: Any) -> None:
        self.lines: list[str] = []
        guard = Guard(output=lambda level, text: self.lines.append(text))
        self.provider = LeanMeterProvider(resource=RESOURCE, guard=guard, **options)
        self.meter = self.provider.get_meter("scope", "1.0")
        self._renderer = Renderer(guard, lambda: self.provider.resource, scope_labels=scope_labels)
        self._source = LocalSource(self.provider)
        self.scraper = Scraper(self._source, self._renderer)

    def text(self, *, openmetrics: bool = False) -> str:
        return self._renderer.render(self._source.snapshot(exemplars=openmetrics), openmetrics=openmetrics).decode()

    def samples(self) -> dict[Any, float]:
        """Both texts parsed strictly; they agree but for `_created` and the counters' family names."""
        new = samples(openmetrics_families(self.text(openmetrics=True)))
        old = samples(text_families(self.text()))
        assert {k: v for k, v in new.items() if not k[0].endswith("_created")} == old
        return old


def samples(parsed: Iterator[Any]) -> dict[Any, float]:
    found: dict[Any, float] = {}
    for family in parsed:
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, "one line a series"
            found[key] = sample.value
    return found


def without_scope(found: dict[Any, float]) -> dict[Any, float]:
    return {(n, tuple(p for p in pairs if not p[0].startswith("otel_scope"))): v for (n, pairs), v in found.items()}


def everything(meter: Meter) -> None:
    """A program with every kind of instrument, whose text upstream gets right."""
    counter = meter.create_counter("http.client.requests.total", "{request}", 'with "quotes" \\ and\nlines')
    counter.add(3, {"http.route": "/a", "status": 200, "ok": True, "list": ["a", 1], "text": 'q"\\\n'})
    meter.create_counter("bytes.sent", "By").add(10)
    meter.create_up_down_counter("active", "{request}").add(-2, {"x": "y"})
    histogram = meter.create_histogram("http.server.duration", "s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
    for value in (0.05, 0.5, 5):
        histogram.record(value, {"route": "/ü"})
    meter.create_gauge("temp", "Cel").set(21.5)
    meter.create_gauge("ratio", "1").set(0.5)
    meter.create_gauge("speed", "m/s").set(3)
    meter.create_observable_gauge("seen", [lambda options: [Observation(4, {"k": "v"})]], "ms")
    meter.create_observable_counter("cpu.time", [lambda options: [Observation(1.5)]], "s")


def test_the_text_is_what_upstreams_exporter_says() -> None:
    """Names, units, types, help, labels and values of the older format are upstream's, sample by sample."""
    made = Exposed()
    everything(made.provider.get_meter("lib", "1.2", "https://example.test/s", {"team": "a", "name": "no"}))
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(registry=registry)
    provider = MeterProvider([reader], Resource({**RESOURCE.attributes}), shutdown_on_exit=False)
    everything(provider.get_meter("lib", "1.2", "https://example.test/s", {"team": "a", "name": "no"}))
    theirs = list(text_families(generate_latest(registry).decode()))
    ours = list(text_families(made.text()))
    assert [(f.name, f.type, f.documentation) for f in ours] == [(f.name, f.type, f.documentation) for f in theirs]
    mine, its = samples(iter(ours)), samples(iter(theirs))
    # colliding resource keys: upstream loses one of the two values
    [target] = [k for k in mine if k[0] == "target_info"]
    assert dict(target[1])["a_b"] == '1;["x"]'
    assert {k: v for k, v in mine.items() if k != target} == {k: v for k, v in its.items() if k[0] != "target_info"}


def test_two_scopes_that_share_a_name_keep_their_own_labels() -> None:
    """Upstream zips one library's values to the other's label names; here each has its own."""
    made = Exposed()
    made.provider.get_meter("libA").create_counter("hits").add(1, {"method": "GET", "route": "/a"})
    made.provider.get_meter("libB").create_counter("hits").add(7, {"status": "200", "tenant": "acme"})
    found = {k[1]: v for k, v in without_scope(made.samples()).items() if k[0] == "hits_total"}
    assert found == {(("method", "GET"), ("route", "/a")): 1, (("status", "200"), ("tenant", "acme")): 7}
    assert made.text().count("# TYPE hits_total counter") == 1


def test_colliding_label_keys_are_joined() -> None:
    """Keys that become one label have their values joined by ; in the order of the keys (specification)."""
    made = Exposed()
    made.meter.create_counter("c").add(1, {"a/b": "y", "a.b": "x", "a_b": "z"})
    assert 'c_total{a_b="x;y;z"' in made.text()


def test_series_that_become_equal_are_one_line() -> None:
    """Attribute sets that give the same labels are added up (gauges: the newest), never two equal lines."""
    made = Exposed()
    counter, gauge = made.meter.create_counter("c"), made.meter.create_gauge("g")
    histogram = made.meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1])
    for number, key in enumerate(("a.b", "a_b", "a/b")):
        counter.add(1, {key: "x"})
        gauge.set(number, {key: "x"})
        histogram.record(number, {key: "x"})
    found = without_scope(made.samples())
    labels = (("a_b", "x"),)
    assert found["c_total", labels] == 3
    assert found["g", labels] == 2
    assert (found["h_count", labels], found["h_sum", labels]) == (3, 3)
    assert found["h_bucket", (("a_b", "x"), ("le", "1.0"))] == 2


def test_a_name_has_one_type_and_the_first_one_wins() -> None:
    """A gauge named like a histogram's count, or like a counter, is left out with a line; the rest is served."""
    made = Exposed()
    made.meter.create_histogram("h").record(1)
    made.meter.create_gauge("h.count").set(5)
    made.meter.create_counter("c").add(1)
    made.provider.get_meter("other").create_gauge("c").set(9)
    made.provider.get_meter("third").create_gauge("c_total").set(9)
    made.meter.create_gauge("target.info").set(1)
    found = without_scope(made.samples())
    assert found["h_count", ()] == 1
    assert found["c_total", ()] == 1
    assert ("c", ()) not in found
    assert len(made.lines) == 4


def test_different_help_texts_cost_only_themselves() -> None:
    """One HELP line, both series, one warning."""
    made = Exposed()
    made.provider.get_meter("a").create_counter("c", description="one").add(1)
    made.provider.get_meter("b").create_counter("c", description="two").add(2)
    assert made.text().count("# HELP c_total") == 1
    assert sum(v for k, v in made.samples().items() if k[0] == "c_total") == 3
    assert len(made.lines) == 1


def test_an_attribute_called_le_does_not_disturb_a_histogram() -> None:
    """`le` is the histogram's; an attribute of that name is `exported_le`."""
    made = Exposed()
    made.meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1]).record(1, {"le": "x", "__name__": "n"})
    assert ("h_count", (("_name_", "n"), ("exported_le", "x"))) in without_scope(made.samples())


@pytest.mark.parametrize(
    ("name", "unit", "counter", "expected"),
    [
        ("a.b", "ms", False, ("a_b_milliseconds", "milliseconds")),
        ("disk", "TiBy", False, ("disk_tebibytes", "tebibytes")),
        ("disk", "kBy", False, ("disk_kilobytes", "kilobytes")),
        ("a_seconds", "s", False, ("a_seconds", "seconds")),
        ("seconds", "s", False, ("seconds", "")),
        ("a.total", "By", True, ("a_bytes", "bytes")),
        ("a", "{request}", False, ("a", "")),
        ("a", "{request}/s", False, ("a_per_second", "per_second")),
        ("a", "1/s", False, ("a_per_second", "per_second")),
        ("a", "1/min", False, ("a_per_min", "per_min")),
        ("a", "By/m", False, ("a_bytes_per_minute", "bytes_per_minute")),
        ("a", "1", False, ("a", "")),
        ("a", "%", False, ("a_percent", "percent")),
        ("a--b..c", "°", False, ("a_b_c", "")),
        ("total", "", True, ("total", "")),
    ],
)
def test_names_and_units(name: str, unit: str, counter: bool, expected: tuple[str, str]) -> None:
    """Units become words at the end of the name, once."""
    assert names.family_name(name, unit, counter=counter) == expected


def test_openmetrics_shows_exemplars_and_creation_times() -> None:
    """A bucket and a counter lead to their trace; every counter and histogram says when it began."""
    made = Exposed()
    context = SpanContext(0xABC << 64, 0xDEF, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    current = trace.set_span_in_context(NonRecordingSpan(context))
    made.meter.create_counter("c").add(2, context=current)
    made.meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 5]).record(3, context=current)
    families = {f.name: f for f in openmetrics_families(made.text(openmetrics=True))}
    wanted = {"trace_id": f"{0xABC << 64:032x}", "span_id": f"{0xDEF:016x}"}
    [counter] = [s for s in families["c"].samples if s.name == "c_total"]
    assert (counter.exemplar.labels, counter.exemplar.value) == (wanted, 2)
    buckets = [s for s in families["h"].samples if s.name == "h_bucket"]
    with_exemplar = {s.labels["le"]: s.exemplar for s in buckets if s.exemplar}
    assert {le: (e.labels, e.value) for le, e in with_exemplar.items()} == {"5.0": (wanted, 3)}
    created = [s.value for f in families.values() for s in f.samples if s.name.endswith("_created")]
    assert len(created) == 2
    assert all(abs(value - float(counter.exemplar.timestamp)) < 60 for value in created)
    assert "_created" not in made.text()


def test_exponential_histograms_show_powers_of_two() -> None:
    """No native histogram in text: the bounds are powers of two, the counts exact, and nothing fails."""
    view = View(instrument_name="*", aggregation=ExponentialBucketHistogramAggregation())
    made = Exposed(views=[view])
    up_down, histogram = made.meter.create_up_down_counter("u"), made.meter.create_histogram("h")
    for value in (0, 1, 3, 4, 1000):
        histogram.record(value)
        up_down.add(-value)
    found = without_scope(made.samples())
    assert {dict(k[1])["le"]: v for k, v in found.items() if k[0] == "h_bucket"} == {
        "0.0": 1, "1.0": 2, "4.0": 4, "1024.0": 5, "+Inf": 5,
    }  # fmt: skip
    assert (found["h_count", ()], found["h_sum", ()]) == (5, 1008)
    assert {dict(k[1])["le"]: v for k, v in found.items() if k[0] == "u_bucket"} == {
        "-512.0": 1, "-2.0": 3, "-0.5": 4, "0.0": 5, "+Inf": 5,
    }  # fmt: skip
    # OpenMetrics: no sum beside negative buckets, and no count without a sum
    assert {k[0] for k in found if k[0].startswith("u")} == {"u_bucket"}


def test_what_has_no_value_has_no_line_and_no_header() -> None:
    """A gauge that was never set and a callback that says nothing leave no family behind."""
    made = Exposed()
    made.meter.create_gauge("g").series({})
    made.meter.create_observable_gauge("o", [lambda options: []])
    assert [f.name for f in text_families(made.text())] == ["target_info"]


def test_numbers_beyond_what_floats_hold_are_still_parsed() -> None:
    """A sum that has become infinite is written as +Inf."""
    made = Exposed()
    counter = made.meter.create_counter("c")
    counter.add(1.7e308)
    counter.add(1.7e308)
    assert without_scope(made.samples())["c_total", ()] == float("inf")


@pytest.mark.parametrize(
    ("accept", "openmetrics", "content_type"),
    [
        ("", False, TEXT),
        ("*/*", False, TEXT),
        ("application/json", False, TEXT),
        (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            True,
            OPENMETRICS,
        ),
        (
            PROMETHEUS_3,
            True,
            f"{OPENMETRICS}; escaping=underscores",
        ),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", False, TEXT),
        ("application/openmetrics-text;version=0.0.1", False, TEXT),
        ("application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.1", False, TEXT),
        ("application/openmetrics-text;version=1.1.0", True, OPENMETRICS),
        ("application/openmetrics-text", True, OPENMETRICS),
        ("application/vnd.google.protobuf;q=0.9,text/plain;q=0.5", False, TEXT),
        ("application/openmetrics-text;q=banana,text/plain;q=0.1", False, TEXT),
        ("application/openmetrics-text;q=0,*/*;q=0.1", False, TEXT),
    ],
)
def test_the_format_is_the_scrapers_favourite(accept: str, openmetrics: bool, content_type: str) -> None:
    """Quality decides; what there is not is passed over; the answer says what it is."""
    made = Exposed()
    answer = made.scraper.scrape(accept)
    assert dict(answer.headers)["content-type"] == content_type
    assert answer.body.endswith(b"# EOF\n") == openmetrics


def test_a_large_answer_is_compressed_for_those_who_take_it() -> None:
    """gzip when it is accepted and worth it, and the same text inside."""
    made = Exposed()
    for number in range(200):
        made.meter.create_counter(f"c{number}").add(1)
    plain, packed = made.scraper.scrape(), made.scraper.scrape("", "br, gzip;q=0.5")
    assert dict(packed.headers)["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert "content-encoding" not in dict(made.scraper.scrape("", "gzip;q=0").headers)


def test_little_of_a_page_is_kept_for_the_next() -> None:
    """Labels of a histogram are kept once, not once for each of its buckets."""
    made = Exposed()
    duration = made.meter.create_histogram("duration", unit="s")
    for number in range(200):
        duration.record(number, {"route": f"/api/v1/things/{number}" + "/of" * 60})
    tracemalloc.start()
    try:
        size = len(made.scraper.scrape().body)
        assert tracemalloc.get_traced_memory()[0] < size / 3
    finally:
        tracemalloc.stop()


anything = st.text(max_size=12)
keys = st.one_of(st.sampled_from(["a", "a.b", "a_b", "le", "quantile", "__name__", "otel_scope_name", "0x"]), anything)
values = st.one_of(
    anything, st.booleans(), st.floats(), st.binary(max_size=4), st.lists(anything, max_size=2), st.none()
)
attributes = st.dictionaries(keys, values, max_size=4)
name_characters = st.sampled_from("abAB01_.-/")
valid_names = st.builds(
    lambda first, rest: first + rest,
    st.sampled_from("abC"),
    st.one_of(st.text(name_characters, max_size=6), st.sampled_from([".total", "_count", "_sum", "_bucket", "_info"])),
)
units = st.one_of(
    st.sampled_from(["s", "By/s", "{x}", "1", "%", "", "a{b}c", "/", "//", ":", "s/", "\n", "}{"]),
    st.text(st.characters(max_codepoint=127), max_size=6),
)
kinds = st.sampled_from(["counter", "up_down_counter", "gauge", "histogram", "observable_gauge"])


def measure(meter: Any, described: tuple[str, str, str, str, list[Any]]) -> None:
    kind, name, unit, description, series = described
    if kind == "observable_gauge":
        meter.create_observable_gauge(name, [lambda options: [Observation(1, a) for a in series]], unit, description)
        return
    instrument = getattr(meter, f"create_{kind}")(name, unit, description)
    method: Callable[..., None] = getattr(
        instrument, {"counter": "add", "up_down_counter": "add", "gauge": "set", "histogram": "record"}[kind]
    )
    for number, one in enumerate(series):
        method(number * 3.7, one)


@given(
    program=st.lists(st.tuples(kinds, valid_names, units, anything, st.lists(attributes, max_size=3)), max_size=6),
    scope=st.tuples(st.text(min_size=1, max_size=5), anything, attributes),
    exponential=st.booleans(),
    scope_labels=st.booleans(),
    renamed=st.none() | anything,
)
def test_no_name_unit_help_or_label_ever_breaks_a_line(
    program: list[Any], scope: tuple[str, str, Any], exponential: bool, scope_labels: bool, renamed: str | None
) -> None:
    """Whatever an application calls things, both texts parse strictly and agree with each other."""
    views = [View(instrument_name="a*", aggregation=ExponentialBucketHistogramAggregation())] if exponential else []
    if renamed is not None and program:
        # an instrument's name is checked by the API, a view's is not
        views.append(View(instrument_name=program[0][1], name=renamed, description=renamed))
    made = Exposed(views=views, scope_labels=scope_labels, exemplar_filter="always_on")
    plain = {k: str(v) for k, v in scope[2].items() if k}
    meter = made.provider.get_meter(scope[0], scope[1], None, plain)
    for described in program:
        measure(meter, described)
    made.samples()
    for line in made.text().split("\n")[:-1]:
        assert line.startswith("#") or re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? \S+", line)


@given(value=st.text(st.characters(), max_size=8) | st.text(st.sampled_from('\ud800\udfff\\"\n\r\x00a'), max_size=8))
def test_label_values_come_back_as_they_went_in(value: str) -> None:
    """Parsing gives the attribute's value again; lone surrogates, which UTF-8 cannot say, become U+FFFD."""
    made = Exposed()
    made.meter.create_counter("c").add(1, {"k": value})
    [labels] = [dict(k[1]) for k in made.samples() if k[0] == "c_total"]
    if all(not 0xD800 <= ord(c) <= 0xDFFF for c in value):
        assert labels["k"] == value
    else:
        assert all(not 0xD800 <= ord(c) <= 0xDFFF for c in labels["k"])
