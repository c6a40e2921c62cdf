"""collector-lint: each rule finds its fault on its line, and says nothing about what is right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.collectorgen.__main__ import FOLDER
from scripts.collectorlint.files import Unreadable, findings
from scripts.collectorlint.rules import RULES
from tests.servers.binaries import collector_binary
from tests.servers.collector import COLLECTOR_CONFIG

ROOT = Path(__file__).resolve().parents[2]

# Right in every way; each case below changes one thing.
SOUND = """\
extensions:
  file_storage/a:
    directory: /var/lib/otelcol/a
  file_storage/b:
    directory: /var/lib/otelcol/b
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:4317
processors:
  memory_limiter:
    check_interval: 1s
    limit_percentage: 80
  tail_sampling:
    policies: []
connectors:
  isolate: {}
  span_metrics:
    dimensions: []
exporters:
  otlp_grpc/a: &exporter
    endpoint: a:4317
    retry_on_failure:
      max_elapsed_time: 0
    sending_queue:
      storage: file_storage/a
      block_on_overflow: false
      batch:
        sizer: bytes
        max_size: 3500000
  otlp_grpc/b:
    <<: *exporter
    endpoint: b:4317
service:
  extensions: [file_storage/a, file_storage/b]
  telemetry:
    metrics:
      readers:
        - pull:
            exporter:
              prometheus:
                without_type_suffix: false
                without_units: false
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter]
      exporters: [isolate]
    traces/red:
      receivers: [isolate]
      processors: []
      exporters: [span_metrics]
    traces/a:
      receivers: [isolate]
      exporters: [otlp_grpc/a]
    traces/b:
      receivers: [isolate]
      exporters: [otlp_grpc/b]
    metrics:
      receivers: [span_metrics]
      exporters: [otlp_grpc/a]
"""

# what is replaced, by what, the rule, and the text of the line that must be named
CASES = [
    ("processors: [memory_limiter]", "processors: []", "limiter-first", "processors: []"),
    (
        "processors: [memory_limiter]",
        "processors: [tail_sampling, memory_limiter]",
        "limiter-first",
        "processors: [tail",
    ),
    ("      max_elapsed_time: 0", "      max_elapsed_time: 300s", "retry-gives-up", "max_elapsed_time"),
    ("      max_elapsed_time: 0", "      enabled: false", "retry-gives-up", "retry_on_failure:"),
    ("      max_elapsed_time: 0", "      max_elapsed_time: ${env:GIVE_UP:-5m}", "retry-gives-up", "max_elapsed_time"),
    ("      storage: file_storage/a\n", "", "queue-in-memory", "sending_queue:"),
    ("max_size: 3500000", "max_size: 8000000", "batch-too-large", "max_size"),
    ("sizer: bytes", "sizer: items", "batch-too-large", "max_size"),
    (
        "exporters: [isolate]",
        "exporters: [otlp_grpc/a, otlp_grpc/b]",
        "fan-out-duplicates",
        "exporters: [otlp_grpc/a, otlp",
    ),
    ("exporters: [isolate]", "exporters: [isolate, span_metrics]", "span-metrics-doubled", "exporters: [isolate, span"),
    (
        "      processors: []",
        "      processors: [tail_sampling]",
        "span-metrics-sampled",
        "processors: [tail_sampling]",
    ),
    ("    dimensions: []", "    exclude_dimensions: [collector.instance.id]", "span-metrics-replicas", "span_metrics:"),
    ("/var/lib/otelcol/b", "/tmp/queue", "queue-not-kept", "directory: /tmp"),
    ("127.0.0.1:4317", "0.0.0.0:4317", "open-receiver", "endpoint: 0.0.0.0"),
    ("127.0.0.1:4317", "${env:WHERE:-0.0.0.0:4317}", "open-receiver", "endpoint: ${env"),
    ("                without_units: false\n", "", "metric-names", "- pull:"),
    ("[file_storage/a, file_storage/b]", "[file_storage/a]", "extension-not-enabled", "file_storage/b:"),
    ("  otlp_grpc/b:", "  otlp/b:", "old-name", "otlp/b:"),
    ("    dimensions: []", "    dimensions_cache_size: 1000", "old-name", "dimensions_cache_size"),
    ("      readers:", "      address: 127.0.0.1:8888\n      readers:", "old-name", "address:"),
]


def written(folder: Path, text: str) -> Path:
    """A configuration in a file."""
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_a_sound_configuration_has_no_finding(tmp_path: Path) -> None:
    """Nothing is found where nothing is wrong."""
    assert findings(written(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("old", "new", "rule", "line"), CASES, ids=[f"{case[2]}-{number}" for number, case in enumerate(CASES)]
)
def test_a_fault_is_found_on_its_line(old: str, new: str, rule: str, line: str, tmp_path: Path) -> None:
    """One change, its finding, on the line where a person would change it; with a remedy and a source."""
    assert old in SOUND
    text = SOUND.replace(old, new)
    found = [finding for finding in findings(written(tmp_path, text)) if finding.rule == rule]
    assert found
    assert line in text.splitlines()[found[0].line - 1]
    assert found[0].remedy
    assert found[0].source


def test_a_blocking_queue_in_a_fan_out_is_found(tmp_path: Path) -> None:
    """Blocking is a fault beside siblings only."""
    blocking = SOUND.replace("block_on_overflow: false", "block_on_overflow: true")
    assert [finding.rule for finding in findings(written(tmp_path, blocking))] == []
    beside = blocking.replace("exporters: [isolate]", "exporters: [otlp_grpc/a, otlp_grpc/b]")
    assert "blocking-fan-out" in [finding.rule for finding in findings(written(tmp_path, beside))]


@pytest.mark.parametrize(
    ("receiver", "behind", "found"),
    [
        ("kafka/spans", "processors: [memory_limiter, tail_sampling]", ["kafka-before-sampler"]),
        ("kafka/spans", "processors: [memory_limiter]", []),
        ("kafka_traces", "processors: [memory_limiter, tail_sampling]", []),
    ],
)
def test_a_receiver_that_commits_what_a_sampler_holds_is_found(
    receiver: str, behind: str, found: list[str], tmp_path: Path
) -> None:
    """The stock Kafka receiver before a sampler is a fault; ours is none, nor is the stock one alone."""
    text = SOUND.replace("receivers:\n  otlp:", f"receivers:\n  {receiver}: {{}}\n  otlp:", 1)
    text = text.replace("receivers: [otlp]", f"receivers: [{receiver}]")
    kept = text.replace("processors: [memory_limiter]", behind)
    at = [finding for finding in findings(written(tmp_path, kept)) if finding.rule == "kafka-before-sampler"]
    assert [finding.rule for finding in at] == found
    assert all(kept.splitlines()[finding.line - 1] == f"  {receiver}: {{}}" for finding in at)


def test_a_sampler_behind_a_connector_is_behind_its_receiver(tmp_path: Path) -> None:
    """Through `isolate` or `forward` it is the same loss."""
    text = SOUND.replace("receivers:\n  otlp:", "receivers:\n  kafka: {}\n  otlp:", 1)
    text = text.replace("receivers: [otlp]", "receivers: [otlp, kafka]")
    text = text.replace(
        "      exporters: [otlp_grpc/b]", "      processors: [tail_sampling]\n      exporters: [otlp_grpc/b]"
    )
    (found,) = [each for each in findings(written(tmp_path, text)) if each.rule == "kafka-before-sampler"]
    assert text.splitlines()[found.line - 1] == "  kafka: {}"


def test_every_rule_has_a_case() -> None:
    """A rule without a case could be deaf."""
    assert len({case[2] for case in CASES}) + 2 >= len(RULES)  # two have tests of their own


def test_a_comment_allows_a_finding(tmp_path: Path) -> None:
    """`# collector-lint: allow RULE` above a line silences that rule there, and no other."""
    text = SOUND.replace(
        "        endpoint: 127", "        # Meant. collector-lint: allow open-receiver\n        endpoint: 0.0.0.0:1 #"
    )
    assert findings(written(tmp_path, text)) == []
    assert [found.rule for found in findings(written(tmp_path, text.replace("open-receiver", "old-name")))] == [
        "open-receiver"
    ]


def test_config_maps_and_their_volumes_are_looked_at(tmp_path: Path) -> None:
    """A queue in an emptyDir of the same manifests is found, with the line of the manifest."""
    inner = "".join(f"    {line}\n" for line in SOUND.splitlines())
    manifest = (
        "kind: ConfigMap\ndata:\n  config.yaml: |\n" + inner + "---\nkind: Deployment\nspec:\n  template:\n    spec:\n"
        "      containers:\n        - name: otelcol\n          volumeMounts:\n"
        "            - {name: queue, mountPath: /var/lib/otelcol}\n"
        "      volumes:\n        - {name: queue, emptyDir: {}}\n"
    )
    found = findings(written(tmp_path, manifest))
    assert [finding.rule for finding in found] == ["queue-not-kept", "queue-not-kept"]
    assert "directory: /var/lib/otelcol/a" in manifest.splitlines()[found[0].line - 1]


MANIFESTS = """\
kind: ConfigMap
metadata: {name: gateway}
data:
  config.yaml: |
%s
---
kind: Deployment
metadata: {name: gateway}
spec:
  replicas: %d
  template:
    spec:
      containers:
        - {name: otelcol, args: [%s]}
      volumes:
        - {name: config, configMap: {name: gateway}}
"""
_EXCLUDED = SOUND.replace("    dimensions: []", "    exclude_dimensions: [collector.instance.id]")
_GATE = "--feature-gates=-connector.spanmetrics.includeCollectorInstanceID"
_SCALER = """\
---
kind: HorizontalPodAutoscaler
spec: {scaleTargetRef: {kind: Deployment, name: gateway}, maxReplicas: 4}
"""


@pytest.mark.parametrize(
    ("config", "deployed", "who"),
    [
        (_EXCLUDED, (1, "--x", ""), None),
        (_EXCLUDED, (3, "--x", ""), "3 collectors"),
        (_EXCLUDED, (1, "--x", _SCALER), "4 collectors"),
        (SOUND, (3, "--x", ""), None),
        (SOUND, (3, _GATE, ""), "3 collectors"),
        (SOUND, (1, _GATE, ""), None),
    ],
)
def test_span_metrics_of_several_replicas_need_the_collectors_id(
    config: str, deployed: tuple[int, str, str], who: str | None, tmp_path: Path
) -> None:
    """One collector needs none; several do, whether the configuration, an argument or a scaler makes them several."""
    inner = "".join(f"    {line}\n" for line in config.splitlines())
    manifest = MANIFESTS % (inner, *deployed[:2]) + deployed[2]
    found = [each for each in findings(written(tmp_path, manifest)) if each.rule == "span-metrics-replicas"]
    assert len(found) == (1 if who else 0)
    for finding in found:
        assert str(who) in finding.why
        assert "span_metrics:" in manifest.splitlines()[finding.line - 1]


def test_a_processor_that_takes_the_collectors_id_away_is_found(tmp_path: Path) -> None:
    """Behind span metrics, not elsewhere."""
    taking = SOUND.replace(
        "  tail_sampling:\n",
        "  attributes/less:\n    actions: [{key: collector.instance.id, action: delete}]\n  tail_sampling:\n",
    )
    assert findings(written(tmp_path, taking)) == []
    behind = taking.replace(
        "receivers: [span_metrics]", "receivers: [span_metrics]\n      processors: [attributes/less]"
    )
    (found,) = [each for each in findings(written(tmp_path, behind)) if each.rule == "span-metrics-replicas"]
    assert behind.splitlines()[found.line - 1].strip() == "attributes/less:"


def test_unknown_keys_are_the_collectors_word(tmp_path: Path) -> None:
    """With a collector at hand, a key that it does not know is named with its line."""
    text = SOUND.replace("limit_percentage: 80", "limit_percentage: 80\n    limit_percents: 1").replace(
        "    policies: []\n", "    num_traces: 1\n"
    )
    found = findings(written(tmp_path, text), collector_binary())
    unknown = [finding for finding in found if finding.rule == "unknown-key"]
    assert [text.splitlines()[finding.line - 1].strip() for finding in unknown] == ["limit_percents: 1"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_our_own_configurations_are_clean(path: Path) -> None:
    """What we give to others has no finding, or says that it is meant."""
    assert findings(path) == []


def test_the_plain_configuration_has_the_one_fault_that_the_stock_image_leaves() -> None:
    """Without our connector a full queue makes senders send again: lint says so, and nothing else."""
    assert [finding.rule for finding in findings(COLLECTOR_CONFIG)] == ["fan-out-duplicates"]


@pytest.mark.parametrize(
    ("text", "reason"), [("a: [", "while parsing"), ("a: 1", "no collector configuration"), ("", "no coll")]
)
def test_what_is_no_configuration_is_said(text: str, reason: str, tmp_path: Path) -> None:
    """A file of another kind gives a reason, not a traceback and not silence."""
    with pytest.raises(Unreadable, match=reason):
        findings(written(tmp_path, text))


def test_the_command_prints_line_why_remedy_and_source(tmp_path: Path) -> None:
    """From anywhere: status 1 and three lines a finding; 0 when nothing was found; 2 when a file cannot be read."""
    bad = written(tmp_path, SOUND.replace("max_elapsed_time: 0", "max_elapsed_time: 60s"))
    command = [str(ROOT / "scripts" / "collector-lint"), "config.yaml"]
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    first, remedy, source = result.stdout.splitlines()[:3]
    assert (result.returncode, first.split(": ")[:2]) == (1, ["config.yaml:25", "retry-gives-up"])
    assert remedy.startswith("    do: ")
    assert source.startswith("    source: ")
    bad.write_text(SOUND)
    assert subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False).returncode == 0
    bad.unlink()
    assert subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False).returncode == 2
