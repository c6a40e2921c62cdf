"""The Prometheus text format, read into samples."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.servers.binaries import promtool_binary

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*?)\})? (\S+)(?: \d+)?(?: # .*)?$")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_LINT = 3  # promtool's exit status when it has parsed all and would have chosen other names
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a scrape or of a query; `name` is empty where a query's function removed it."""

    name: str
    labels: Mapping[str, str]
    value: float


def parse_exposition(text: str) -> list[Sample]:
    """Samples of a /metrics page, in their order.

    Raises:
        ValueError: a line is neither a comment nor a sample.
    """
    samples = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"not a line of the text format: {line!r}")
        labels = {name: _unescape(value) for name, value in _LABEL.findall(match[2] or "")}
        samples.append(Sample(match[1], labels, float(match[3])))
    return samples


def total(samples: list[Sample], name: str, **labels: str) -> float | None:
    """Sum of the samples called `name` that have all of `labels`; None when there is no such sample."""
    values = [
        sample.value for sample in samples if sample.name == name and labels.items() <= dict(sample.labels).items()
    ]
    return sum(values) if values else None


def promtool_check(text: str) -> list[str]:
    """What `promtool check metrics` finds in a /metrics page of the text format, one line a finding.

    Raises:
        ValueError: it cannot parse the page, or finds a sample twice.
    """
    done = subprocess.run(
        [promtool_binary(), "check", "metrics"], input=text.encode(), capture_output=True, timeout=60, check=False
    )
    findings = done.stderr.decode(errors="replace").splitlines()
    if done.returncode not in {0, _LINT} or any("not unique" in finding for finding in findings):
        raise ValueError(f"promtool ended with {done.returncode}: {findings[:5]}")
    return findings


def _unescape(value: str) -> str:
    return re.sub(r"\\.", lambda found: _ESCAPES.get(found[0], found[0]), value)
