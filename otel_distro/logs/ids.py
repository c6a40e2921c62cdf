"""Logs where nothing is chosen: records get the ids of the running code, and nothing else happens."""

from __future__ import annotations

from otel_distro.guard import Guard

from .correlation import Correlation
from .join import Join


def join_ids(service: str, guard: Guard) -> None:
    """Put trace id, span id and service on every record from now on.

    Args:
        service: `service.name`.
        guard: gets whatever fails.
    """
    Join(put_on=Correlation(service, contextual=False).put_on, take=None, guard=guard).join()


__all__ = ["join_ids"]
