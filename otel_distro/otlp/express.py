"""Requests that leave from the application's thread: where the kernel takes one without waiting, no thread is woken.

The answer is read when the next request leaves, or by the sender's own thread, which looks for it now and then.
"""

from __future__ import annotations

from collections.abc import Callable

from .answer import Answer
from .client import OtlpClient
from .outcomes import Begun, Outcomes
from .spool import Spool

Conclude = Callable[[Begun, Answer, float], bool]
"""Takes a request, its answer, and the seconds since that came."""


class Express:
    """The request of one sender that is under way without a thread. Used under the sender's lock.

    Args:
        client: posts requests.
        spool: where batches wait.
        outcomes: counts attempts.
        conclude: accounts for an answer.

    Attributes:
        begun: what is under way, None for nothing.
        used: whether anything was tried so.
    """

    def __init__(self, client: OtlpClient, spool: Spool, outcomes: Outcomes, conclude: Conclude) -> None:
        self._client = client
        self._spool = spool
        self._outcomes = outcomes
        self._conclude = conclude
        self.begun: Begun | None = None
        self.used = False

    def send(self) -> bool:
        """Send what waits, as one request, where that takes no waiting, no file and no packing.

        Returns:
            False where something is left for the sender's thread to do.
        """
        self.used = True
        if self._outcomes.alone or self._spool.disk:
            return False
        try:
            return self._begin()
        except BaseException:
            # perhaps a signal handler's: an answer must not be taken for that of another request
            self._client.close()
            self.begun = None
            self._spool.let_go()
            raise

    def _begin(self) -> bool:
        if self.begun is not None:
            answered = self.answered()
            if answered is None:
                return False
            self._conclude(self.begun, *answered)
            if self._outcomes.streak or self._outcomes.held():
                return False
        items, body = self._outcomes.take()
        rest = self._client.begin(body) if items else None
        if rest is None:
            self._spool.let_go()
            return False
        self.begun = self._outcomes.begun(items, body, rest)
        return not rest and not self.more_waits()

    def answered(self) -> tuple[Answer, float] | None:
        """The answer, and the seconds since it came; None while there is none, or a part of the request is here."""
        return None if self.begun is None or self.begun.rest else self._client.answered()

    def more_waits(self) -> bool:
        """Whether there are batches beside those under way."""
        return len(self._spool) > self._spool.sending


__all__ = ["Express"]
