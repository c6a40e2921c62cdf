"""Entry point `otel_distro` of `opentelemetry_distro`: what the stock launcher calls, and in which order.

First `OtelDistro.configure()`, then every configurator, every `opentelemetry_pre_instrument` hook (ours is
`before_instrumentors`), then its own loop over instrumentors. That loop stops at the first instrumentor that raises, so
it is told to load nothing: our configurator loads them, each in its own guard.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.distro import (  # type: ignore[attr-defined]  # upstream opts this file out of typing
    BaseDistro,
)

from .borrowing import borrow_disabled, give_back_disabled
from .start import switched_off, undisturbed

if TYPE_CHECKING:
    # its imports are not paid for where telemetry is off
    from .session import Session

NAME = "otel_distro"
_CONFIGURATOR = "OTEL_PYTHON_CONFIGURATOR"
_DISTRO = "OTEL_PYTHON_DISTRO"


class OtelDistro(BaseDistro):  # type: ignore[misc]
    """The distro; upstream makes it a singleton, so its session is the process's one."""

    _session: Session | None = None
    _chosen = False

    def session(self) -> Session:
        """The session of this process, opened at the first call."""
        if self._session is None:
            self._session = undisturbed(_open)
        return self._session

    @property
    def chosen(self) -> bool:
        """Whether the launcher picked this distro."""
        return self._chosen

    def _configure(self, **kwargs: Any) -> None:
        self._chosen = True
        environ = os.environ if switched_off(os.environ) else self.session().environ
        # without this, whichever configurator the file system lists first wins
        environ.setdefault(_CONFIGURATOR, NAME)
        borrow_disabled(environ)


def _open() -> Session:
    from .session import this_process

    return this_process()


def before_instrumentors() -> None:
    """Entry point `otel_distro` of `opentelemetry_pre_instrument`, which runs whatever distro was chosen.

    Ends what the distro has borrowed, and says in one line when ours was not chosen.
    """
    distro = OtelDistro()
    if switched_off(os.environ):
        give_back_disabled(os.environ)
        return
    session = distro.session()
    give_back_disabled(session.environ)
    try:
        _tell_who_is_in_charge(distro, session)
    finally:
        if session.wake is None:
            session.settled()


def _tell_who_is_in_charge(distro: OtelDistro, session: Session) -> None:
    if distro.chosen:
        if session.active and session.wake is None and session.pipeline is None and not session.guard.failures:
            session.guard.warn(
                f"no telemetry: {_CONFIGURATOR}={session.environ.get(_CONFIGURATOR)!r} names another configurator;"
                f" {_CONFIGURATOR}={NAME} is this distro's"
            )
        return
    wanted = session.environ.get(_DISTRO, "")
    if wanted == NAME or not wanted:
        reason = "another distro was found first"
    elif wanted in _installed("opentelemetry_distro"):
        reason = f"{_DISTRO}={wanted!r} chooses another distro"
    else:
        reason = f"{_DISTRO}={wanted!r} names no installed distro"
    session.guard.warn(f"otel-distro is installed but not in charge: {reason}; {_DISTRO}={NAME} chooses it")


def _installed(group: str) -> list[str]:
    from ._compat import entry_points

    return [point.name for point in entry_points(group=group)]
