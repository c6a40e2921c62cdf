"""The statistics of the benchmarks: rounds are compared with themselves, and the order of peers treats all alike."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.results import Incomplete, Results
from benchmarks.stats import differences, middle, middle_ratio, order, ratios, scaled, spread
from benchmarks.targets import TARGETS
from benchmarks.workload.pairs import Side, difference, whole_difference

_NAMES = ["bare", "ours", "upstream", "ddtrace"]
_TIMES = st.floats(min_value=1, max_value=1e6)


def _results(rows: list[tuple[int, str, str, float]]) -> Results:
    return Results(
        {}, [{"round": turn, "case": case, "peer": peer, "cpu_us": value} for turn, case, peer, value in rows]
    )


def test_each_round_runs_every_peer_once() -> None:
    """An order is a permutation: no peer is measured twice or left out."""
    for turn in range(20):
        assert sorted(order(_NAMES, turn)) == sorted(_NAMES)


def test_each_peer_runs_in_each_place_equally_often() -> None:
    """Over two rounds a peer, none is always first on a cool machine or last on a warm one."""
    places = Counter((name, place) for turn in range(8) for place, name in enumerate(order(_NAMES, turn)))
    assert set(places.values()) == {2}
    assert len(places) == 16


def test_each_peer_follows_a_neighbour_as_often_as_it_precedes_it() -> None:
    """Backwards rounds undo what one neighbour leaves to the next."""
    followed: Counter[tuple[str, str]] = Counter()
    for turn in range(8):
        names = order(_NAMES, turn)
        followed.update(pairwise(names))
    assert all(followed[first, second] == followed[second, first] for first, second in followed)


def test_order_of_nobody_is_empty() -> None:
    """A case that no peer can do has an order all the same."""
    assert order([], 3) == []


def test_ratio_is_made_within_a_round() -> None:
    """A machine that halves its speed between rounds changes no ratio."""
    assert ratios([20.0, 40.0], [10.0, 20.0]) == [2.0, 2.0]


@given(pairs=st.lists(st.tuples(_TIMES, _TIMES), min_size=1), factor=st.floats(min_value=0.5, max_value=2))
def test_a_slower_machine_changes_no_median_of_ratios(pairs: list[tuple[float, float]], factor: float) -> None:
    """Scaling every second round as a whole leaves the median of ratios."""
    values = [value for value, _ in pairs]
    base = [value for _, value in pairs]
    slow = [factor if turn % 2 else 1.0 for turn in range(len(pairs))]
    scaled_values = [value * speed for value, speed in zip(values, slow, strict=True)]
    scaled_base = [value * speed for value, speed in zip(base, slow, strict=True)]
    assert middle_ratio(scaled_values, scaled_base) == pytest.approx(middle_ratio(values, base))


def test_rounds_without_a_partner_are_left_out() -> None:
    """A peer that failed in one round is compared in the others."""
    assert ratios([20.0, None, 60.0], [10.0, 10.0, 20.0]) == [2.0, 3.0]
    assert ratios([20.0, 30.0], [10.0]) == [2.0]


def test_a_base_of_nothing_gives_no_ratio() -> None:
    """An added cost that noise made zero or negative is no divisor."""
    assert ratios([1.0, 1.0, 1.0], [0.0, -2.0, 4.0]) == [0.25]


def test_differences_keep_their_round() -> None:
    """A missing round stays missing, so that differences of differences still meet in the same round."""
    assert differences([5.0, None, 7.0], [1.0, 1.0]) == [4.0, None, None]


def test_middle_is_robust_against_one_bad_round() -> None:
    """One round in which the machine did something else moves the median to a neighbour at most."""
    assert middle([10.0, 11.0, 12.0, 13.0, 900.0]) == 12.0
    assert middle([None, None]) is None


def test_spread_of_few_rounds_is_their_range() -> None:
    """Quartiles of three values would be invented."""
    assert spread([3.0, 1.0, None, 2.0]) == (1.0, 3.0)
    assert spread([]) is None


def test_spread_of_many_rounds_is_the_middle_half() -> None:
    """The quartiles leave out what a single bad round did."""
    around = spread([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1000.0])
    assert around is not None
    assert around == (2.0, 6.0)


def test_scaled_keeps_missing_rounds() -> None:
    """What was not measured stays unknown."""
    assert scaled([2.0, None], 0.5) == [1.0, None]


def test_cost_of_a_call_leaves_out_the_request() -> None:
    """50 statements that add 500 us to a request whose own part adds 100 cost 8 each."""
    results = _results(
        [
            (0, "plain", "bare", 50.0),
            (0, "plain", "ours", 150.0),
            (0, "sql-50", "bare", 1000.0),
            (0, "sql-50", "ours", 1500.0),
        ]
    )
    assert results.added_a_call("sql-50", "ours") == [8.0]


def test_a_promise_is_read_from_added_costs() -> None:
    """The share of upstream is of what each adds to bare, not of the whole request."""
    results = _results([(0, "plain", "bare", 100.0), (0, "plain", "ours", 130.0), (0, "plain", "upstream", 700.0)])
    first = TARGETS[0]
    assert first.figure(results) == pytest.approx(30 / 600)
    assert first.said(30 / 600) == "1/20.0"


def test_costs_at_many_routes_are_read_from_pairs_of_one_process() -> None:
    """Two processes differ by more than what is asked, whatever they add to bare."""
    told = {"cpu_us": 1.0, "spans": 1, "sent": 1, "arrived": 1, "metric_exports": 1}
    costs = {"plain": [40.0, 41.0, 900.0], "routes-1000": [61.0, 61.5, 62.0], "walk-1000": [60.0, 61.5, 63.0]}
    rows = [
        {"round": turn, "case": case, "peer": "ours", "paired_us": value, **told}
        for case, values in costs.items()
        for turn, value in enumerate(values)
    ]
    read = {target.title: target.figure(Results({}, rows)) for target in TARGETS}
    assert read["added CPU at 1,000 routes, of that at one"] == pytest.approx(61.5 / 41)
    assert read["the same, where 1,000 others are matched before the one"] == pytest.approx(1)


@pytest.mark.parametrize(("one", "other"), [(20_000, 100), (100, 20_000)])
def test_a_pair_tells_which_side_costs_more(one: int, other: int) -> None:
    """The sign of a difference is that of the side that works more, and each turn is prepared."""
    prepared: list[int] = []

    def side(work: int) -> Side:
        async def run() -> None:
            sum(range(work))

        return Side(lambda: prepared.append(work), run)

    found = asyncio.run(difference(side(one), side(other), 0.05))
    assert (found["paired_us"] > 0) == (one > other)
    assert prepared.count(one) == found["pairs"] + 1
    assert prepared.count(other) == found["pairs"]


def test_a_turn_with_its_export_counts_what_the_flush_does_and_is_prepared_when_the_side_changes() -> None:
    """What leaves late belongs to the work before it; a side that follows itself is as it was."""
    prepared: list[str] = []
    done: list[str] = []

    def side(name: str) -> Side:
        async def run() -> None:
            done.append(name)

        return Side(partial(prepared.append, name), run)

    def flush() -> None:
        sum(range(100 * done.count("one")))  # the other leaves nothing to send
        done.clear()

    found = asyncio.run(whole_difference(side("one"), side("other"), flush, 0.05))
    assert prepared == ["one", "other", "one"]
    assert found.pairs == 2
    assert found.one > 0 < found.other
    assert found.paired_us > 0


def test_a_promise_of_calls_is_read_from_pairs_of_one_process() -> None:
    """Two processes differ by more than a call's telemetry costs, whatever they add to bare."""
    told = {"spans": 21, "sent": 21, "arrived": 21, "metric_exports": 1}
    costs = {"ours": [20.0, 22.0, 900.0], "upstream": [200.0, 220.0, 240.0]}
    rows = [
        {"round": turn, "case": "requests-20", "peer": peer, "paired_us": value, **told}
        for peer, values in costs.items()
        for turn, value in enumerate(values)
    ]
    target = next(target for target in TARGETS if target.title.startswith("requests call"))
    assert target.figure(Results({}, rows)) == pytest.approx(1 / 10)
    lost = [row | {"arrived": 20} if row["round"] == 1 else row for row in rows]
    with pytest.raises(Incomplete, match="1 spans of 21 did not arrive"):
        target.figure(Results({}, lost))


def test_a_promise_without_its_measurement_has_no_figure() -> None:
    """A part that was not run is neither reached nor missed."""
    assert all(target.figure(_results([])) is None for target in TARGETS)


def test_a_failed_row_is_no_value() -> None:
    """A peer that could not do a case has no series there."""
    results = Results({}, [{"round": None, "case": "plain", "peer": "ours", "failed": "ended with 1"}])
    assert not results.has("plain", "ours")


@pytest.mark.parametrize(
    ("spans", "arrived", "exports", "reason"),
    [(0, 0, 3, "0 spans a request"), (1, 9, 3, "1 spans of 10"), (1, 10, 0, "no metrics")],
)
def test_cheap_because_it_did_nothing_is_not_reached(spans: int, arrived: int, exports: int, reason: str) -> None:
    """A promise is not kept by telemetry that was left out or lost on its way."""
    row = {"round": 0, "case": "plain", "cpu_us": 100.0, "sent": 10 * spans, "arrived": arrived}
    rows = [{**row, "peer": peer, "spans": spans, "metric_exports": exports} for peer in ("bare", "ours", "upstream")]
    with pytest.raises(Incomplete, match=reason):
        TARGETS[0].figure(Results({}, rows))


def test_fields_whose_names_hold_a_dot_are_told_apart() -> None:
    """A latency "p99.9" is not the "9" of "p99", and that of the loop's gaps is found in its group."""
    row = {"round": 0, "case": "lag", "peer": "ours", "p99": 1.0, "p99.9": 2.0, "gaps_ms": {"p99.9": 3.0}}
    results = Results({}, [row])
    assert results.series("lag", "ours", "p99.9") == [2.0]
    assert results.series("lag", "ours", "gaps_ms.p99.9") == [3.0]
    assert results.series("lag", "ours", "gaps_ms.p50") == [None]
