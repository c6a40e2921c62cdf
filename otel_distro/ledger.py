"""What has ended waits here as it ended, until much of it is counted and encoded in a row.

A step that runs once in a request waits for its instructions and data, for all the code of the request has run since it
ran last: encoding its span and counting it took a third of all that a plain request cost. The same for many in a row,
most of it in loops of the interpreter's own functions, takes a quarter of that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import call, itemgetter
from threading import get_ident
from time import monotonic, sleep
from typing import Any, Protocol

from .guard import let_through

TOGETHER = 64
"""Entries settled at a stretch: in a sixth of a millisecond, so that an event loop does not notice."""
FEW = 4
"""Entries below which columns cost more than they spare."""
_MOST = 1_024
_SECONDS = 1.0
_LOOKS_EVERY = 0.001
_STALE = 10.0
_ACCOUNT = itemgetter(0)

Entry = tuple[Any, ...]
"""What it takes to count and encode one thing; the first is its account, the rest is for that to understand."""


class Account(Protocol):
    """What entries that ended alike have in common; compared by identity."""

    def encoded(self, entries: list[Entry], /) -> Sequence[Any]:
        """What is sent of these."""
        ...

    def count(self, entries: list[Entry], /) -> None:
        """Put these into metrics; after they have been given to their sender."""
        ...


class Ledger(deque[Any]):
    """Entries that wait; whoever appends looks whether there are as many as the mark, and then calls `full`.

    There is no lock: what is taken from it is taken by one thread alone, and several may settle at once. What was not
    sent when a signal's handler raised waits again, unless it was just being handed over.

    Args:
        send: takes what accounts have encoded.
        failed: called with an exception and how many entries are lost by it.
        left: called when this thread does not settle any more.
        together: from how many on they are settled.

    Attributes:
        mark: the same, but 1 before the first, which is settled at once: it starts the thread that fetches the others
            when their delay is over. `send` may set it to 1 for what shall be done with the next.
    """

    __slots__ = ("_abandoned", "_failed", "_inside", "_left", "_send", "_together", "mark")

    def __init__(
        self,
        send: Callable[[Sequence[Any]], object],
        failed: Callable[[BaseException, int], object],
        left: Callable[[], object] = lambda: None,
        together: int = TOGETHER,
    ) -> None:
        super().__init__()
        self.mark = 1
        self._send = send
        self._failed = failed
        self._left = left
        self._together = together
        self._abandoned = False
        # threads that settle, and since when: a handler that raises at a bad moment leaves one here, which then counts
        # no longer than it may take
        self._inside: dict[int, float] = {}

    def full(self) -> None:
        """Settle what waits, unless that happens already."""
        if not self._others(None):
            self.mark = self._together
            self._enter()
        elif len(self) > _MOST:
            # who settles is held up: everybody does his own, or as much
            self._some(1)

    def drain(self, seconds: float = _SECONDS) -> None:
        """Settle everything, also what another thread has begun to settle, for which this waits so long."""
        here = get_ident()
        if self.is_interrupted():
            # a signal's handler: what it has interrupted is settled when it has returned
            self._settle()
            return
        self._enter()
        until = monotonic() + seconds
        while self._others(here) and monotonic() < until:
            sleep(_LOOKS_EVERY)

    def abandon(self) -> None:
        """In a forked child: whoever settles stops, for all that waits or has been begun belongs to the parent."""
        self._abandoned = True
        self.clear()

    def is_interrupted(self) -> bool:
        """Whether the caller is a signal's handler that has interrupted this thread where it settles."""
        return self._inside.get(get_ident(), 0.0) > monotonic() - _STALE

    def _others(self, here: int | None) -> bool:
        since = monotonic() - _STALE
        return any(began > since for thread, began in tuple(self._inside.items()) if thread != here)

    def _enter(self) -> None:
        here = get_ident()
        try:
            self._inside[here] = monotonic()
            self._settle()
        finally:
            self._inside.pop(here, None)
            self._left()

    def _settle(self) -> None:
        # not more than there are now: others go on appending
        for _ in range(-(-len(self) // TOGETHER)):
            self._some(TOGETHER)

    def _some(self, most: int) -> None:
        """Settle the oldest, account by account."""
        entries: list[Entry] = []
        groups: dict[Account, list[Entry]] = {}
        try:
            try:
                # no signal's handler comes between the steps of `map`
                entries.extend(map(call, repeat(self.popleft, min(most, len(self)))))
            except IndexError:
                pass  # another thread was quicker
            groups = dict.fromkeys(map(_ACCOUNT, entries), entries)
            if len(groups) > 1:
                groups = {account: [] for account in groups}
                for entry in entries:
                    groups[entry[0]].append(entry)
        except BaseException:
            self.extendleft(reversed(entries))
            raise
        try:
            while groups:
                account, alike = next(iter(groups.items()))
                pieces = self._encoded(account, alike)
                if self._abandoned:
                    groups.clear()
                    return
                # from here on these are not put back, or they would be sent twice
                del groups[account]
                try:
                    self._send(pieces)
                finally:
                    self._count(account, alike)
        finally:
            for alike in groups.values():
                self.extendleft(reversed(alike))

    def _encoded(self, account: Account, entries: list[Entry]) -> Sequence[Any]:
        try:
            return account.encoded(entries)
        except Exception as error:  # noqa: BLE001 - whatever was wrong with one, the others are settled
            let_through(error)
            if len(entries) > 1:
                return [piece for entry in entries for piece in self._encoded(account, [entry])]
            self._failed(error, len(entries))
            return ()

    def _count(self, account: Account, entries: list[Entry]) -> None:
        try:
            account.count(entries)
        except Exception as error:  # noqa: BLE001 - the spans have been sent
            self._failed(error, 0)


__all__ = ["FEW", "TOGETHER", "Account", "Entry", "Ledger"]
