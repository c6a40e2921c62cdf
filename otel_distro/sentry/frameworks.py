"""sentry-sdk's own integrations of servers and workers that we have no instrumentation of, set up when imported.

They catch errors and add what the framework knows. Those of clients (databases, caches, HTTP) stay off: they patch
what OpenTelemetry's instrumentations patch already.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from otel_distro.guard import Guard
from otel_distro.import_hooks import ImportHooks

from . import _sdk

if TYPE_CHECKING:
    from collections.abc import Callable

FRAMEWORKS = {
    "aiohttp.web": "aiohttp.AioHttpIntegration",
    "arq": "arq.ArqIntegration",  # the package: its integration asks it for its parts, which are named when it is whole
    "bottle": "bottle.BottleIntegration",
    "celery": "celery.CeleryIntegration",
    "django": "django.DjangoIntegration",
    "dramatiq": "dramatiq.DramatiqIntegration",
    "falcon": "falcon.FalconIntegration",
    "flask": "flask.FlaskIntegration",
    "huey": "huey.HueyIntegration",
    "litestar": "litestar.LitestarIntegration",
    "pyramid": "pyramid.PyramidIntegration",
    "quart": "quart.QuartIntegration",
    "rq": "rq.RqIntegration",
    "sanic": "sanic.SanicIntegration",
    "tornado.web": "tornado.TornadoIntegration",
}
"""Module whose import is the moment -> integration, below `sentry_sdk.integrations`."""


class Frameworks:
    """Sets integrations up for the client that is ours.

    Args:
        client: the client, None while another one is active.
        guard: gets an integration that cannot be set up.
    """

    def __init__(self, client: Callable[[], Any | None], guard: Guard) -> None:
        self._client = client
        self._guard = guard
        self._made: list[Any] = []
        self._waiting: deque[str] = deque()
        self._setting_up = threading.Lock()

    def watch(self, hooks: ImportHooks) -> None:
        """Wait for the imports."""
        for module, target in FRAMEWORKS.items():
            hooks.on_import(module, partial(self._imported, target))

    def again(self) -> None:
        """Give a new client, a forked child's, what the one before had."""
        client = self._client()
        if client is not None:
            for integration in self._made:
                _sdk.add_integration(client, integration)

    def _imported(self, target: str, module: ModuleType) -> None:
        """One after the other: an integration that is set up imports others, under a lock of sentry-sdk's.

        FlaskIntegration imports quart where that is installed; that one has its turn behind it.
        """
        del module
        self._waiting.append(target)
        while self._waiting and not _sdk.is_installing() and self._setting_up.acquire(blocking=False):
            try:
                while self._waiting:
                    self._set_up(self._waiting.popleft())
            finally:
                self._setting_up.release()

    def _set_up(self, target: str) -> None:
        client = self._client()
        if client is None:
            return
        path, _, name = target.rpartition(".")
        known = sys.modules.get(f"sentry_sdk.integrations.{path}")
        if known is not None and not hasattr(known, name):
            return  # an `init()` of the application's is at it: sentry-sdk imports the framework from in there
        try:
            integration = getattr(import_module(f"sentry_sdk.integrations.{path}"), name)()
            _sdk.add_integration(client, integration)
        except Exception as error:  # noqa: BLE001 - DidNotEnable for versions that it does not know, and anything else
            self._guard.failed(f"Sentry, {path}", error, remedy="its errors arrive by logging alone")
            return
        self._made.append(integration)


__all__ = ["FRAMEWORKS", "Frameworks"]
