"""What must be true after a drill: each gives the problems of an outcome, none when it is as expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.collector.drills.rig import Fate, Outcome

    Verdict = Callable[[Outcome], list[str]]


_CONSUMERS = 4  # of a queue on disk: num_consumers
_SENDERS = 4  # threads under load
_REQUEST = 20  # spans


def nothing_lost(*, twice: int = 0) -> Verdict:
    """0 missing, at most `twice` duplicates a backend; the ledger balanced, or negative by what was on the way.

    A kill between the write of a queue and the count of it leaves a batch that was delivered and never received.
    """

    def check(outcome: Outcome) -> list[str]:
        found = _nothing_sent(outcome)
        for name, fate in outcome.fates.items():
            found += [f"{name}: {fate.missing} missing"] if fate.missing else []
            found += _too_often(name, fate, twice)
            balanced = -max(fate.duplicated, twice) <= fate.ledger_missing <= 0
            found += [] if balanced else [f"{name}: the ledger says {fate.ledger_missing} missing"]
        return found

    return check


def collector_killed(kills: int) -> Verdict:
    """0 missing; twice is at most what each kill caught: a batch a consumer of the queue, a request a sender."""

    def check(outcome: Outcome) -> list[str]:
        found = _nothing_sent(outcome)
        for name, fate in outcome.fates.items():
            found += [f"{name}: {fate.missing} missing"] if fate.missing else []
            many = fate.batches_twice > kills * (_CONSUMERS + _SENDERS)
            found += [f"{name}: {fate.batches_twice} batches duplicated"] if many else []
            # delivered again and not received again, or received by a queue that was killed before it was counted
            balanced = -fate.duplicated - kills * _SENDERS * _REQUEST <= fate.ledger_missing <= 0
            found += [] if balanced else [f"{name}: the ledger says {fate.ledger_missing} missing"]
        return found

    return check


def healthy_whole_and_the_rest_counted() -> Verdict:
    """Jaeger has all, once; what Tempo lacks is what its counters say, to the span."""

    def check(outcome: Outcome) -> list[str]:
        jaeger = outcome.fates["jaeger"]
        found = [f"jaeger: {jaeger.missing} missing"] if jaeger.missing else []
        return _nothing_sent(outcome) + found + _counted(outcome)

    return check


def refused_but_nothing_lost(outcome: Outcome) -> list[str]:
    """The sender was told 503 at least once, and what was acknowledged has arrived or is counted, to the span.

    Of upstream's SDK nobody knows what was acknowledged: it gives up what was refused for longer than it tries again.
    """
    if outcome.sender == "upstream SDK":
        return _nothing_sent(outcome) + [
            line for name, fate in outcome.fates.items() for line in _too_often(name, fate, 0)
        ]
    told = "503" in outcome.told if outcome.sender == "bare" else outcome.told != "nothing"
    return _nothing_sent(outcome) + ([] if told else ["nothing was refused"]) + _counted(outcome)


def refused_and_nothing_lost(outcome: Outcome) -> list[str]:
    """As above, and nothing that was acknowledged is missing at all."""
    found = refused_but_nothing_lost(outcome)
    for name, fate in outcome.fates.items():
        found += [f"{name}: {fate.missing} missing"] if fate.missing and outcome.sender != "upstream SDK" else []
        found += [f"{name}: the ledger says {fate.ledger_missing} missing"] if fate.ledger_missing else []
    return found


def distro_loses_nothing(outcome: Outcome) -> list[str]:
    """What was acknowledged arrives once; what was not is the sender's, and this distribution's sender keeps it."""
    found = _nothing_sent(outcome)
    for name, fate in outcome.fates.items():
        keeps = outcome.sender != "upstream SDK"
        found += [f"{name}: {fate.missing} missing"] if keeps and fate.missing else []
        found += _too_often(name, fate, 0)
    return found


def upgraded(spans: int) -> Verdict:
    """0 missing, 0 duplicated; what an older collector received, this one has delivered without having received it."""

    def check(outcome: Outcome) -> list[str]:
        found = _nothing_sent(outcome)
        for name, fate in outcome.fates.items():
            found += [f"{name}: {fate.missing} missing"] if fate.missing else []
            found += _too_often(name, fate, 0)
            found += [] if fate.ledger_missing == -spans else [f"{name}: the ledger says {fate.ledger_missing} missing"]
        return found

    return check


def the_sender_is_told(outcome: Outcome) -> list[str]:
    """What was acknowledged arrives once; what was not, the sender knows of."""
    found = _nothing_sent(outcome)
    for name, fate in outcome.fates.items():
        unsaid = fate.missing and (outcome.sender == "bare" or outcome.told == "nothing")
        found += [f"{name}: {fate.missing} missing, and nobody said so"] if unsaid else []
        found += _too_often(name, fate, 0)
    return found


def sampler_loss_counted(outcome: Outcome) -> list[str]:
    """Both backends lack the same, and the ledger's account of the sampler says how many, to the span."""
    missing = {fate.missing for fate in outcome.fates.values()}
    found = [] if missing == {outcome.lost_in_sampler} else [f"{missing} missing, {outcome.lost_in_sampler} counted"]
    return _nothing_sent(outcome) + found + ([] if outcome.lost_in_sampler else ["nothing was lost: no drill"])


def sampled_away_counted(outcome: Outcome) -> list[str]:
    """Both backends have the same part, and the rest is what the sampler says it has sampled away."""
    missing = {fate.missing for fate in outcome.fates.values()}
    found = [] if missing == {outcome.sampled_away} else [f"{missing} missing, {outcome.sampled_away} sampled away"]
    found += [f"the ledger says {outcome.lost_in_sampler} missing"] if outcome.lost_in_sampler else []
    return _nothing_sent(outcome) + found + ([] if 0 < outcome.sampled_away < outcome.sent else ["nothing was sampled"])


def _nothing_sent(outcome: Outcome) -> list[str]:
    return [] if outcome.sent else ["nothing was sent"]


def _too_often(name: str, fate: Fate, twice: int) -> list[str]:
    return [f"{name}: {fate.duplicated} duplicated"] if fate.duplicated > twice else []


def _counted(outcome: Outcome) -> list[str]:
    found = []
    for name, fate in outcome.fates.items():
        counted = sum(fate.dropped.values()) + fate.ledger_missing
        found += [f"{name}: {fate.missing} missing, {counted} counted"] if fate.missing != counted else []
        found += _too_often(name, fate, 0)
    return found
