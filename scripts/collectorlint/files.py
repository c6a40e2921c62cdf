"""Files that hold configurations: the collector's own, or Kubernetes manifests with ConfigMaps."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from scripts.collectorlint.keys import old_names
from scripts.collectorlint.located import documents
from scripts.collectorlint.model import Config, Finding
from scripts.collectorlint.rules import RULES
from scripts.collectorlint.workloads import copies, ephemeral_mounts, nameless_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.collectorlint.located import Document


class Unreadable(ValueError):
    """The file holds no collector configuration; the message says why."""


def findings(path: Path, collector: str | None = None) -> list[Finding]:
    """Findings of a file, by line; with the path of a collector, its unknown keys as well.

    Raises:
        Unreadable: it is not YAML, or no collector configuration is in it.
        OSError: it cannot be read.
    """
    try:
        configs = list(_configs(path.read_text()))
    except yaml.YAMLError as error:
        raise Unreadable(" ".join(str(error).split())) from error
    if not configs:
        raise Unreadable("no collector configuration in it (a mapping with `service`, or a ConfigMap that holds one)")
    text = path.read_text().splitlines()
    found = [finding for config in configs for rule in (*RULES, old_names) for finding in rule(config)]
    found = [finding for finding in found if not _allowed(finding, text)]
    if collector and len(configs) == 1:
        found += _unknown_keys(path, configs[0], collector)
    return sorted(found, key=lambda finding: finding.line)


_ALLOW = re.compile(r"collector-lint: allow ([\w-]+(?:, [\w-]+)*)")


def _allowed(finding: Finding, lines: list[str]) -> bool:
    """Whether the line of a finding, or the comment above it, says that it is meant: `# collector-lint: allow RULE`."""
    place = finding.line - 1
    words = lines[place].partition("#")[2]
    while place > 0 and lines[place - 1].lstrip().startswith("#"):
        place -= 1
        words = f"{lines[place].strip(' #')} {words}"  # a comment may be wrapped
    return any(finding.rule in found[1].split(", ") for found in _ALLOW.finditer(words))


def _configs(text: str) -> Iterator[Config]:
    read = documents(text)
    manifests = [document.value for document in read]
    for document in read:
        if _is_config(document):
            yield Config(document)
        elif isinstance(document.value, dict) and document.value.get("kind") == "ConfigMap":
            yield from _in_config_map(document, manifests)


def _is_config(document: Document) -> bool:
    value = document.value
    return isinstance(value, dict) and isinstance(value.get("service"), dict) and "pipelines" in value["service"]


def _in_config_map(document: Document, manifests: list[Any]) -> Iterator[Config]:
    name = (document.value.get("metadata") or {}).get("name", "")
    ephemeral = tuple(ephemeral_mounts(manifests))
    replicas, nameless = copies(manifests, name), nameless_metrics(manifests, name)
    for key, content in (document.value.get("data") or {}).items():
        if not isinstance(content, str) or "pipelines:" not in content:
            continue
        # A block scalar begins on the line behind its key.
        for inner in documents(content, first_line=document.line("data", key) + 1):
            if _is_config(inner):
                yield Config(inner, ephemeral, replicas, nameless)


_INVALID = re.compile(r"'([^']*)' has invalid keys: (.*)")


def _unknown_keys(path: Path, config: Config, collector: str) -> Iterator[Finding]:
    """What the collector itself does not know."""
    command = [collector, "validate", f"--config={path}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in result.stderr.splitlines():
        if (match := _INVALID.search(line)) is None:
            continue
        for key in match[2].split(", "):
            places = [place for place in config.document.lines if place and place[-1] == key]
            yield config.finding(
                places[0] if places else (),
                "unknown-key",
                f"{key} is not a key that this collector knows here",
                remedy="remove it, or look for its new name in the component's README",
                source=f"{collector.rsplit('/', 1)[-1]} validate",
            )
