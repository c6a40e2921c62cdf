"""Waiting for a condition with a deadline, and asking HTTP questions: all that the servers' readers need."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25
_BUSY = 5
"""A machine that does other things as well may take so many times as long as one that does not."""
# Loopback only: a proxy of the environment must not see these requests.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_until(check: Callable[[], T], *, seconds: float, what: str) -> T:
    """Ask `check` again and again until it gives something true, and return that.

    An OSError (refused connection, HTTP error status) or HTTPException counts as "not yet"; anything else is raised.

    Args:
        check: see above.
        seconds: more than it ever takes on a machine that does nothing else; it may take five times as long.
        what: is waited for.

    Raises:
        TimeoutError: five times `seconds` went by; the message names `what` and the last answer or error.
    """
    seconds *= _BUSY
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    last: object = None
    while True:
        try:
            answer = check()
            if answer:
                return answer
            last = answer
        except (OSError, http.client.HTTPException) as error:
            last = error
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}; last answer: {last!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def http_get(url: str, *, seconds: float = 5.0) -> bytes:
    """Body of a GET.

    Raises:
        OSError: no connection, no answer in time, or a status of 400 and above (`urllib.error.HTTPError`).
    """
    with _OPENER.open(url, timeout=seconds) as response:
        body: bytes = response.read()
    return body


def http_ok(url: str, *, seconds: float = 2.0) -> bool:
    """Whether a GET answers with a status below 400; False as well when nobody answers."""
    try:
        http_get(url, seconds=seconds)
    except OSError:
        return False
    return True


def http_json(url: str, *, seconds: float = 5.0) -> Any:
    """Decoded JSON of a GET, None where the server says 404.

    Raises:
        OSError: as `http_get`, for every error but 404.
    """
    try:
        return json.loads(http_get(url, seconds=seconds))
    except urllib.error.HTTPError as error:
        with error:  # it holds the connection, and must be closed
            if error.code == 404:
                return None
            raise


def http_post(url: str, body: bytes, headers: dict[str, str], *, seconds: float = 10.0) -> int:
    """Status of a POST; error statuses are returned, not raised.

    Raises:
        OSError: no connection or no answer in time.
    """
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    try:
        with _OPENER.open(request, timeout=seconds) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
