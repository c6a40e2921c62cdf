"""Running drills, and the table that they give."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.collector.drills.rig import Rig
from tests.collector.generated import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.collector.drills.faults import Drill
    from tests.collector.drills.rig import Outcome
    from tests.collector.drills.senders import Sdk
    from tests.otlp_servers import Certificates


def run_drill(drill: Drill, logs: Path, certificates: Certificates, sdk: Sdk | None = None) -> Outcome:
    """Run one drill with bare requests, or by an SDK, and judge it."""
    folder = logs / re.sub(r"\W+", "-", f"{drill.name}-{sdk or 'bare'}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options: dict[str, Any] = {}
    if drill.tls_backends:
        copies = (folder / "backend.pem", folder / "backend.key")
        for source, copy in zip(certificates.server, copies, strict=True):
            copy.write_bytes(source.read_bytes())
        options["certificate"] = copies
    if drill.token_backends:
        options["token_file"] = folder / "token"
        options["token_file"].write_text(TOKEN)
    with Rig(folder, certificates, drill.choice, drill.env, options) as rig:
        rig.use(sdk)
        drill.run(rig)
        rig.sender.finish()
        rig.settle()
        outcome = rig.outcome(drill.name, drill.expected)
    return replace(outcome, problems=tuple(drill.check(outcome)))


def table(outcomes: Iterable[Outcome]) -> str:
    """Markdown, a line a drill and sender."""
    lines = [
        "| what breaks | sender | sent | Tempo: arrived, missing, twice | Jaeger: arrived, missing, twice | counted (Tempo) | told the sender | as expected |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        tempo, jaeger = outcome.fates["tempo"], outcome.fates["jaeger"]
        counted = ", ".join(f"{reason} {spans}" for reason, spans in tempo.dropped.items() if spans)
        counted = ", ".join(filter(None, [counted, f"missing {tempo.ledger_missing}" if tempo.ledger_missing else ""])) or "-"
        verdict = "; ".join(outcome.problems) if outcome.problems else f"yes: {outcome.expected}"
        lines.append(
            f"| {outcome.drill} | {outcome.sender} | {outcome.sent} "
            f"| {tempo.arrived}, {tempo.missing}, {tempo.duplicated} | {jaeger.arrived}, {jaeger.missing}, {jaeger.duplicated} "
            f"| {counted} | {outcome.told or '-'} | {verdict} |"
        )
    return "\n".join(lines)
