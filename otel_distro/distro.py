"""Entry point `otel_distro` of `opentelemetry_distro`: settings first, then instrumentors, each failing alone.

The stock launcher calls, in this order: `OtelDistro.configure()`, every configurator, every
`opentelemetry_pre_instrument` hook (ours is `before_instrumentors`), then its own loop over instrumentors. That loop
stops at the first instrumentor that raises, so it is told to load nothing, and the distro loads them itself.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.instrumentation.distro import (  # type: ignore[attr-defined]  # upstream opts this file out of typing
    BaseDistro,
)

from .session import Session, installed_names, this_process

NAME = "otel_distro"
_CONFIGURATOR = "OTEL_PYTHON_CONFIGURATOR"
_DISTRO = "OTEL_PYTHON_DISTRO"
_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"


class OtelDistro(BaseDistro):  # type: ignore[misc]
    """The distro; upstream makes it a singleton, so its session is the process's one."""

    _session: Session | None = None
    _disabled_by_user: str | None = None
    _chosen = False

    def session(self) -> Session:
        """The session of this process, opened at the first call."""
        if self._session is None:
            self._session = this_process()
        return self._session

    @property
    def chosen(self) -> bool:
        """Whether the launcher picked this distro."""
        return self._chosen

    def _configure(self, **kwargs: Any) -> None:
        self._chosen = True
        environ = self.session().environ
        # without this, whichever configurator the file system lists first wins
        environ.setdefault(_CONFIGURATOR, NAME)
        self._disabled_by_user = environ.get(_DISABLED)
        environ[_DISABLED] = "*"

    def load_instrumentors(self) -> None:
        """Load every instrumentor that the settings leave on, each in its own guard."""
        session = self.session()
        if self._disabled_by_user is None:
            session.environ.pop(_DISABLED, None)
        else:
            session.environ[_DISABLED] = self._disabled_by_user
        if session.active:
            session.guard.call("instrumentors", None, _load, session)


def _load(session: Session) -> None:
    # late: a process that is switched off imports no instrumentation
    from .instrumentation.load import load

    load(session)


def before_instrumentors() -> None:
    """Entry point `otel_distro` of `opentelemetry_pre_instrument`, which runs whatever distro was chosen.

    Loads the instrumentors when the choice was ours, and says in one line when it was not.
    """
    distro = OtelDistro()
    if distro.chosen:
        distro.load_instrumentors()
        return
    session = distro.session()
    wanted = session.environ.get(_DISTRO, "")
    if wanted == NAME or not wanted:
        reason = "another distro was found first"
    elif wanted in installed_names("opentelemetry_distro"):
        reason = f"{_DISTRO}={wanted!r} chooses another distro"
    else:
        reason = f"{_DISTRO}={wanted!r} names no installed distro"
    session.guard.warn(f"otel-distro is installed but not in charge: {reason}; {_DISTRO}={NAME} chooses it")
