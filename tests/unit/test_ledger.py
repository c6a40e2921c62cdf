"""The ledger: what has ended is settled in good time, account by account, once, whoever interrupts or holds it up."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_distro import ledger as module
from otel_distro.ledger import TOGETHER, Entry, Ledger
from tests.servers.waiting import wait_until


class _Raised(BaseException):
    """What a signal's handler raises in these tests."""


def _nothing(_: list[Any]) -> None:
    pass


class Noted:
    """An account that notes what it has encoded and counted, and first does what it is told to."""

    def __init__(self, first: Callable[[list[Any]], object] = _nothing) -> None:
        self.first = first
        self.stretches: list[list[Any]] = []
        self.counted: list[Any] = []

    def encoded(self, entries: list[Entry]) -> list[Any]:
        things = [entry[1] for entry in entries]
        self.first(things)
        self.stretches.append(things)
        return things

    def count(self, entries: list[Entry]) -> None:
        self.counted += [entry[1] for entry in entries]


class Kept:
    """A ledger, what it has sent, and what it has said of losses."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.lost: list[tuple[str, int]] = []
        self.left = 0
        self.ledger = Ledger(self.sent.extend, self._lose, self._leave)

    def _lose(self, error: BaseException, count: int) -> None:
        self.lost.append((str(error), count))

    def _leave(self) -> None:
        self.left += 1

    def put(self, account: Noted, *things: Any) -> None:
        """Append each, as those do who end something."""
        for thing in things:
            self.ledger.append((account, thing))
            if len(self.ledger) >= self.ledger.mark:
                self.ledger.full()

    def wait(self, account: Noted, *things: Any) -> None:
        """Append them without a look at how many wait."""
        self.ledger.extend((account, thing) for thing in things)


class Held:
    """An account whose first encoding is held up in the thread that settles it."""

    def __init__(self) -> None:
        self.inside, self.released = threading.Event(), threading.Event()
        self.account = Noted(self._hold)

    def _hold(self, _: list[Any]) -> None:
        self.inside.set()
        assert self.released.wait(30)


@contextmanager
def settling(kept: Kept, held: Held, *things: Any) -> Iterator[None]:
    """Another thread settles these, and is held up until the end of the block, or as long as it likes."""
    kept.wait(held.account, *things)
    thread = threading.Thread(target=kept.ledger.full)
    thread.start()
    assert held.inside.wait(30)
    try:
        yield
    finally:
        held.released.set()
        thread.join(30)
    assert not thread.is_alive()


def test_the_first_is_settled_at_once_and_the_others_together() -> None:
    """The first entry leaves as it comes; from then on nothing leaves before there are 64, and then all of them."""
    kept, account = Kept(), Noted()
    kept.put(account, "first")
    assert kept.sent == ["first"]
    kept.put(account, *range(TOGETHER - 1))
    assert (kept.sent, len(kept.ledger)) == (["first"], TOGETHER - 1)
    kept.put(account, *range(TOGETHER - 1, 3 * TOGETHER + 5))
    assert [len(stretch) for stretch in account.stretches] == [1, TOGETHER, TOGETHER, TOGETHER]
    assert len(kept.ledger) == 5
    kept.ledger.drain()
    assert kept.sent == account.counted == ["first", *range(3 * TOGETHER + 5)]
    assert kept.lost == []


def test_a_drain_of_much_goes_by_stretches() -> None:
    """However much has piled up, no more than 64 entries are encoded in a row."""
    kept, account = Kept(), Noted()
    kept.wait(account, *range(2 * TOGETHER + 1))
    kept.ledger.drain()
    assert [len(stretch) for stretch in account.stretches] == [TOGETHER, TOGETHER, 1]
    assert kept.sent == list(range(2 * TOGETHER + 1))


@given(whose=st.lists(st.integers(0, 3), max_size=3 * TOGETHER))
def test_each_account_is_given_its_own_in_order(whose: list[int]) -> None:
    """However entries of several accounts are mixed, each encodes and counts its own, once, the oldest first."""
    kept, accounts = Kept(), [Noted() for _ in range(4)]
    for number, which in enumerate(whose):
        kept.put(accounts[which], number)
    kept.ledger.drain()
    for which, account in enumerate(accounts):
        own = [number for number, each in enumerate(whose) if each == which]
        assert account.counted == [thing for stretch in account.stretches for thing in stretch] == own
    assert sorted(kept.sent) == list(range(len(whose)))
    # of one account there is one stretch, or what 64 in a row are for would be lost
    assert all(len(account.stretches) <= len(whose) // TOGETHER + 2 for account in accounts)


def test_equal_accounts_are_not_one() -> None:
    """Accounts are told apart by identity, not by what they say of themselves, and need not be alike in kind."""
    kept, accounts = Kept(), (Noted(), Noted())
    for number in range(8):
        kept.ledger.append((accounts[number % 2], number))
    kept.ledger.drain()
    assert [account.counted for account in accounts] == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_an_account_that_raises_loses_its_own_alone() -> None:
    """What cannot be encoded is said with its number, and the entries of all others leave as ever."""

    def refuse(_: list[Any]) -> None:
        raise ValueError("odd")

    kept, good, bad, last = Kept(), Noted(), Noted(refuse), Noted()
    for number in range(30):
        kept.ledger.append(((good, bad, last)[number % 3], number))
    kept.ledger.drain()
    assert {reason for reason, _ in kept.lost} == {"odd"}
    assert sum(count for _, count in kept.lost) == 10
    assert sorted(kept.sent) == sorted(good.counted + last.counted) == [n for n in range(30) if n % 3 != 1]
    # it has happened all the same
    assert bad.counted == [n for n in range(30) if n % 3 == 1]
    kept.put(good, "first", *range(30, 30 + TOGETHER))
    assert kept.sent[-1] == 29 + TOGETHER


@pytest.mark.parametrize("error", [_Raised, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_an_exception_of_a_signal_handler_costs_nothing(error: type[BaseException], which: int) -> None:
    """What was not sent when a handler raised waits again, in order; what was sent is not sent again."""
    raised: list[bool] = []

    def interrupt(_: list[Any]) -> None:
        if not raised:
            raised.append(True)
            raise error

    kept = Kept()
    accounts = [Noted(interrupt if number == which else _nothing) for number in range(3)]
    for number in range(TOGETHER):
        kept.ledger.append((accounts[number % 3], number))
    with pytest.raises(error):
        kept.ledger.full()
    assert len(kept.sent) == sum(len(account.counted) for account in accounts[:which])
    assert len(kept.sent) + len(kept.ledger) == TOGETHER
    assert not kept.ledger.is_interrupted()
    assert kept.lost == []
    kept.ledger.drain()
    assert sorted(kept.sent) == list(range(TOGETHER))
    for number, account in enumerate(accounts):
        assert account.counted == list(range(number, TOGETHER, 3))


def test_what_is_sent_is_not_sent_again_where_it_cannot_be_counted() -> None:
    """A handler that raises while metrics are told, after the sending, costs those metrics and doubles no span."""

    class Uncounted(Noted):
        def count(self, entries: list[Entry]) -> None:
            raise _Raised

    kept, account, other = Kept(), Uncounted(), Noted()
    kept.wait(account, 1, 2)
    kept.wait(other, 3)
    with pytest.raises(_Raised):
        kept.ledger.drain()
    kept.ledger.drain()
    assert kept.sent == [1, 2, 3]
    assert other.counted == [3]


def test_what_is_put_back_is_older_than_what_came_meanwhile() -> None:
    """Entries that wait again are the first to be settled the next time."""
    kept = Kept()

    def interrupt(_: list[Any]) -> None:
        account.first = _nothing
        kept.wait(account, "later")
        raise KeyboardInterrupt

    account = Noted(interrupt)
    kept.wait(account, *range(5))
    with pytest.raises(KeyboardInterrupt):
        kept.ledger.drain()
    kept.ledger.drain()
    assert kept.sent == [0, 1, 2, 3, 4, "later"]


def _interrupted_at(step: int, call: Callable[[], object]) -> bool:
    """Have a handler raise where Python calls one for the `step`th time in the ledger: False where there are fewer.

    That is when a function begins, and when one of the interpreter's own has returned.
    """
    passed = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal passed
        if event in {"call", "c_return"} and frame.f_code.co_filename == module.__file__:
            passed += 1
            if passed == step:
                sys.setprofile(None)
                raise _Raised

    sys.setprofile(profile)
    try:
        call()
    except _Raised:
        return True
    finally:
        sys.setprofile(None)
    return False


@pytest.mark.parametrize("way", ["full", "drain"])
def test_a_signal_handler_may_raise_at_any_moment(way: str) -> None:
    """Wherever in the ledger it comes: all is sent once, and the ledger goes on as before."""
    step = 0
    went_wrong: list[str] = []
    interrupted = True
    while interrupted:
        step += 1
        kept, accounts = Kept(), (Noted(), Noted())
        for number in range(8):
            kept.ledger.append((accounts[number % 2], number))
        interrupted = _interrupted_at(step, getattr(kept.ledger, way))
        if kept.ledger.is_interrupted():
            went_wrong.append(f"{step}: the thread seems to be inside for good")
        kept.ledger.drain(0)
        if sorted(kept.sent) != list(range(8)):
            went_wrong.append(f"{step}: sent {kept.sent}")
        kept.ledger.mark = 4
        kept.put(accounts[0], *range(8, 12))
        if kept.sent[-4:] != [8, 9, 10, 11]:
            went_wrong.append(f"{step}: nothing is settled any more")
    assert step > 10
    assert went_wrong == []


def test_a_drain_waits_for_a_thread_that_settles() -> None:
    """Who drains finds everything sent when it returns, also what another thread had taken up before."""
    kept, held, other = Kept(), Held(), Noted()
    with settling(kept, held, *range(3)):
        kept.wait(other, "own")
        timer = threading.Timer(0.1, held.released.set)
        timer.start()
        kept.ledger.drain(30)
        # in which order is nobody's matter
        assert set(kept.sent) == {0, 1, 2, "own"}
        timer.join()


def test_a_drain_does_not_wait_for_ever() -> None:
    """Behind a thread that is held up for longer, what it has not taken up is settled nevertheless."""
    kept, held, other = Kept(), Held(), Noted()
    with settling(kept, held, *range(3)):
        kept.wait(other, "own")
        kept.ledger.drain(0.05)
        assert kept.sent == ["own"]
    assert kept.sent == ["own", 0, 1, 2]
    kept.put(other, *range(TOGETHER))
    assert len(kept.sent) == 4 + TOGETHER, "the lock is free"


@pytest.mark.parametrize("way", ["full", "drain"])
def test_a_signal_handler_that_drains_never_waits_for_the_frame_it_interrupts(way: str) -> None:
    """It settles what is not taken up yet, knows that it has interrupted something, and the rest follows it."""
    kept = Kept()
    seen: list[tuple[Any, int]] = []

    def handler(_: list[Any]) -> None:
        account.first = _nothing
        kept.wait(other, "handler's")
        seen.append((kept.ledger.is_interrupted(), kept.left))
        kept.ledger.drain(30)
        seen.append((list(kept.sent), kept.left))

    account, other = Noted(handler), Noted()
    kept.wait(account, *range(5))
    getattr(kept.ledger, way)()
    # `left` is told when the interrupted frame is done, not when the handler is
    assert seen == [(True, 0), (["handler's"], 0)]
    assert kept.sent == ["handler's", *range(5)]
    assert (kept.left, kept.ledger.is_interrupted()) == (1, False)


def test_another_thread_is_not_interrupted() -> None:
    """Only the thread that settles is told that it does."""
    kept, held = Kept(), Held()
    with settling(kept, held, 1):
        assert not kept.ledger.is_interrupted()


def test_what_ends_while_it_settles_waits_for_its_turn() -> None:
    """A finaliser that ends something within an account's encoding starts nothing anew, and a drain ends."""
    kept = Kept()

    def again(_: list[Any]) -> None:
        kept.put(account, "another")

    account = Noted(again)
    kept.put(account, "first")
    assert (kept.sent, len(kept.ledger)) == (["first"], 1)
    kept.ledger.drain()
    assert (kept.sent, len(kept.ledger)) == (["first", "another"], 1)


def test_the_ledger_is_bounded_while_who_settles_is_held_up() -> None:
    """Then everybody does as much as he adds, so that memory does not grow, and nothing is lost or doubled."""
    kept, held, account = Kept(), Held(), Noted()
    longest = 0
    with settling(kept, held, "held"):
        for number in range(5_000):
            kept.put(account, number)
            longest = max(longest, len(kept.ledger))
    assert longest <= module._MOST + 1
    kept.ledger.drain()
    assert sorted(thing for thing in kept.sent if thing != "held") == list(range(5_000))
    assert kept.sent.count("held") == 1


def test_many_threads_lose_and_double_nothing() -> None:
    """Entries of eight threads are each sent and counted once, while others drain."""
    kept, account, done = Kept(), Noted(), threading.Event()

    def put(worker: int) -> None:
        kept.put(account, *((worker, number) for number in range(1_000)))

    def drain() -> None:
        while not done.is_set():
            kept.ledger.drain()

    drainer = threading.Thread(target=drain)
    workers = [threading.Thread(target=put, args=(worker,)) for worker in range(8)]
    for thread in (drainer, *workers):
        thread.start()
    for thread in workers:
        thread.join(60)
    done.set()
    drainer.join(60)
    kept.ledger.drain()
    wait_until(lambda: len(kept.sent) == 8_000, seconds=10, what="all entries")
    assert len(set(kept.sent)) == 8_000
    assert sorted(account.counted) == sorted(kept.sent)
