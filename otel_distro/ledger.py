"""What has ended waits here as it ended, until much of it is counted and encoded in a row.

A step that runs once in a request waits for its instructions and data, for all the code of the request has run since it
ran last: encoding its span and counting it took a third of all that a plain request cost. The same for many in a row,
most of it in loops of the interpreter's own functions, takes a quarter of that.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import call
from typing import Any, Protocol

TOGETHER = 64
"""Entries settled at a stretch: in a tenth of a millisecond, so that an event loop does not notice."""
_MOST = 1_024
_SECONDS = 1.0

Entry = tuple[Any, ...]
"""What it takes to count and encode one thing; the first is its account, the rest is for that to understand."""


class Account(Protocol):
    """What entries that ended alike have in common; compared by identity."""

    def encoded(self, entries: list[Entry], /) -> Sequence[Any]:
        """What is sent of these."""
        ...

    def count(self, entries: list[Entry], /) -> None:
        """Put these into metrics; after they have been given to who sends them."""
        ...


class Ledger(deque[Any]):
    """Entries that wait; whoever appends looks whether there are as many as the mark, and then calls `full`.

    Nothing is lost when a signal's handler raises while entries are settled: those that were not sent wait again.

    Args:
        send: takes what accounts have encoded.
        failed: called with an exception and how many entries are lost by it.
        left: called when this thread does not settle any more.

    Attributes:
        mark: from how many on they are settled.
    """

    __slots__ = ("_failed", "_inside", "_left", "_lock", "_send", "mark")

    def __init__(
        self,
        send: Callable[[Sequence[Any]], object],
        failed: Callable[[BaseException, int], object],
        left: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__()
        # the first is settled at once: it starts the thread that fetches the others when their delay is over
        self.mark = 1
        self._send = send
        self._failed = failed
        self._left = left
        self._lock = threading.Lock()
        self._inside: set[int] = set()

    def full(self) -> None:
        """Settle what waits, unless that happens already."""
        here = threading.get_ident()
        if here not in self._inside:
            # before the lock is taken: a signal may come straight after
            self._inside.add(here)
            try:
                if self._lock.acquire(blocking=False):
                    try:
                        self.mark = TOGETHER
                        self._settle()
                    finally:
                        self._lock.release()
                    return
            finally:
                self._inside.discard(here)
                self._left()
        if len(self) > _MOST:
            # who settles is held up: everybody does his own, or as much
            self._some(1)

    def drain(self, seconds: float = _SECONDS) -> None:
        """Settle everything, also what another thread has begun to settle, for which this waits so long."""
        here = threading.get_ident()
        if here in self._inside:
            # a signal's handler: what it has interrupted is settled when it has returned
            self._settle()
            return
        self._inside.add(here)
        try:
            free = self._lock.acquire(timeout=seconds)
            try:
                self._settle()
            finally:
                if free:
                    self._lock.release()
        finally:
            self._inside.discard(here)
            self._left()

    def is_interrupted(self) -> bool:
        """Whether the caller is a signal's handler that has interrupted this thread where it settles."""
        return threading.get_ident() in self._inside

    def _settle(self) -> None:
        # not more than there are now: others go on appending
        for _ in range(-(-len(self) // TOGETHER)):
            self._some(TOGETHER)

    def _some(self, most: int) -> None:
        """Settle the oldest, account by account."""
        entries: list[Entry] = []
        groups: dict[Account, list[Entry]] = {}
        try:
            # no signal's handler comes between the steps of `map`
            entries.extend(map(call, repeat(self.popleft, min(most, len(self)))))
        except IndexError:
            pass  # another thread was quicker
        try:
            for entry in entries:
                account = entry[0]
                if account in groups:
                    groups[account].append(entry)
                else:
                    groups[account] = [entry]
        except BaseException:
            self.extendleft(reversed(entries))
            raise
        del entries
        try:
            while groups:
                account, alike = next(iter(groups.items()))
                try:
                    pieces = account.encoded(alike)
                except Exception as error:  # noqa: BLE001 - whatever was wrong with these, the others are settled
                    self._failed(error, len(alike))
                    pieces = ()
                # from here on these are not put back, or they would be sent twice
                del groups[account]
                self._send(pieces)
                account.count(alike)
        finally:
            for alike in groups.values():
                self.extendleft(reversed(alike))


__all__ = ["TOGETHER", "Account", "Entry", "Ledger"]
