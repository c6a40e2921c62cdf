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

    from tests.collector.drills.catalogue import Drill
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
        options["token_file"] = folder / "backend-token"
        options["token_file"].write_text(TOKEN)
    parts = drill.choice, drill.env, options, drill.arguments, drill.disk, drill.over_http
    with Rig(folder, certificates, *parts) as rig:
        rig.use(sdk)
        drill.run(rig)
        rig.sender.finish()
        rig.settle()
        outcome = rig.outcome(drill.name, drill.expected)
    return replace(outcome, problems=tuple(drill.check(outcome)))


def table(outcomes: Iterable[Outcome]) -> str:
    """Markdown, a line a drill and sender."""
    lines = [
        "| what breaks | sender | sent | arrived, missing, twice | counted as | told the sender | as expected |",
        "|---|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        fates = "; ".join(
            f"{name} {fate.arrived}, {fate.missing}, {fate.duplicated}" for name, fate in outcome.fates.items()
        )
        verdict = "; ".join(outcome.problems) if outcome.problems else f"yes: {outcome.expected}"
        lines.append(
            f"| {outcome.drill} | {outcome.sender} | {outcome.sent} | {fates} | {_counted(outcome)} "
            f"| {outcome.told or '-'} | {verdict} |"
        )
    return "\n".join(lines)


def _counted(outcome: Outcome) -> str:
    """What the ledger says went otherwise than by delivery."""
    found = [f"sampled away {outcome.sampled_away}"] if outcome.sampled_away else []
    found += [f"sampler: missing {outcome.lost_in_sampler}"] if outcome.lost_in_sampler else []
    for name, fate in outcome.fates.items():
        terms = {**fate.dropped, "parked": fate.parked, "missing": fate.ledger_missing}
        said = ", ".join(f"{reason} {spans}" for reason, spans in terms.items() if spans)
        found += [f"{name}: {said}"] if said else []
    return "; ".join(found) or "-"
