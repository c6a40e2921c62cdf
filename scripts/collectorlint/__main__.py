"""scripts/collector-lint FILE [...]: line, why, remedy and source of what a collector's configuration will lose."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_USAGE = """usage: collector-lint FILE [...]

Looks at collector configurations, and at Kubernetes manifests whose ConfigMaps hold one. Exit status: 0 nothing found,
1 something found, 2 a file could not be read. With OTELCOL_BINARY set, that collector is asked for unknown keys.
A comment `# collector-lint: allow RULE` on a line, or above it, says that what is found there is meant."""


def main(arguments: list[str]) -> int:
    """Print the findings; see `_USAGE` for the exit status."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(_USAGE)
        return 0 if arguments else 2
    try:
        from scripts.collectorlint.files import Unreadable, findings
    except ModuleNotFoundError as missing:
        print(f"collector-lint: needs {missing.name}: pip install pyyaml", file=sys.stderr)
        return 2
    worst = 0
    for name in arguments:
        try:
            found = findings(Path(name), os.environ.get("OTELCOL_BINARY"))
        except (OSError, Unreadable) as error:
            print(f"{name}: {error}", file=sys.stderr)
            worst = 2
            continue
        for finding in found:
            print(f"{name}:{finding.line}: {finding.rule}: {finding.why}")
            print(f"    do: {finding.remedy}\n    source: {finding.source}")
        worst = max(worst, 1 if found else 0)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
