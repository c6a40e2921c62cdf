"""FastAPI's own telemetry (0.142 and newer): the only file that touches its private names.

FastAPI leaves a request to somebody else when the scope has `fastapi.telemetry`. What lies there has to be its own
`_RequestTelemetry` for routing to tell the full route, for `get_telemetry_data()` to find anything, and for the log
events of validation errors and exceptions; so our exchange becomes one. `tests/conformance` holds each name to this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry import _logs

from otel_distro.conventions import SCHEMA_URL

from .exchange import MARK, NOT_ASKED, Exchange
from .options import Scope
from .patches import Patches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_distro.guard import Guard

_PART = "FastAPI's own telemetry"


class NativeApp:
    """What one application said with `FastAPI(telemetry={...})`.

    Args:
        native: of this process.
        config: the application's, complete.
        guard: gets an `exclude` that raises.

    Attributes:
        context_key: under which the exchange lies in the context, for `get_telemetry_data()`.
        logger: of the log events; None when the application wants none.
        may_exclude: whether `excludes` has anything to ask.
        report: tells FastAPI's telemetry about an exception that left the application.
    """

    __slots__ = ("_exclude", "_guard", "context_key", "logger", "may_exclude", "report")

    def __init__(self, native: Native, config: Mapping[str, Any], guard: Guard) -> None:
        self._exclude = config.get("exclude")
        self.may_exclude = self._exclude is not None
        self._guard = guard
        self.context_key = native.context_key
        self.report = native.report
        self.logger = (
            _logs.get_logger("fastapi", native.version, config.get("logger_provider"), schema_url=SCHEMA_URL)
            if config.get("logs", True)
            else None
        )

    def excludes(self, app: Any, scope: Scope) -> bool:
        """Whether the application excludes this request; a function that raises excludes nothing.

        Args:
            app: the application, which FastAPI puts into the scope before it asks.
            scope: of the request.
        """
        if self._exclude is None:
            return False
        scope["app"] = app
        try:
            return bool(self._exclude(scope))
        except Exception as error:  # noqa: BLE001 - the user's function
            self._guard.failed("FastAPI(telemetry={'exclude': ...})", error)
            return False


class Native:
    """FastAPI's own telemetry as far as we take part in it.

    Args:
        api: the module `fastapi.telemetry._api`.
        asgi: the module `fastapi.telemetry._asgi`.
        version: of FastAPI.

    Raises:
        AttributeError: a name has moved; then the application is traced without what it stands for.
    """

    def __init__(self, api: Any, asgi: Any, version: str) -> None:
        self.version = version
        self.context_key: str = api._REQUEST_TELEMETRY_KEY
        self.report: Callable[..., None] = asgi._exception
        self.exchange_class = _exchange_class(api._RequestTelemetry, api.TelemetryData)

    def app(self, config: Mapping[str, Any] | None, guard: Guard) -> NativeApp:
        """What this application wants.

        Args:
            config: of the application; None for one that is not FastAPI's but may have FastAPI mounted.
            guard: gets an `exclude` that raises.
        """
        return NativeApp(self, config or {}, guard)


def load(fastapi: Any, guard: Guard) -> Native | None:
    """FastAPI's own telemetry, or None where this version has none.

    Args:
        fastapi: the package.
        guard: gets private names that have moved.
    """
    try:
        from fastapi.telemetry import _api, _asgi
    except ImportError:
        return None
    try:
        return Native(_api, _asgi, fastapi.__version__)
    except AttributeError as error:
        guard.failed(_PART, error, remedy="routes may be shortened; a newer otel-distro knows this FastAPI")
        return None


def config_of(app: object) -> Mapping[str, Any] | None:
    """What `FastAPI(telemetry={...})` said, completed by FastAPI; None for an application without it."""
    config = getattr(app, "_telemetry", None)
    return config if isinstance(config, dict) else None


def silence(patches: Patches) -> bool:
    """Let FastAPI's own telemetry answer that it is off, so that it asks nothing and begins nothing by itself.

    Returns:
        Whether it did; else the mark in the scope has to lie there before `FastAPI.__call__`.
    """
    from fastapi.telemetry import _asgi

    asked = getattr(_asgi, "NativeTelemetry", None)
    if asked is None or "enabled" not in vars(asked):
        return False
    patches.wrap(asked, "enabled", lambda _: lambda _self: False)
    return True


def keep_exporters(app: object, ours: Mapping[str, Any], guard: Guard) -> None:
    """Keep `FASTAPI_OTEL_AUTO_CONFIGURE` from adding a second exporter to our providers, before a lifespan starts.

    FastAPI remembers which providers it has given an exporter and does not look at them again; ours are put there.

    Args:
        app: whose lifespan starts.
        ours: `TRACES` and `METRICS` -> provider.
        guard: gets private names that have moved.
    """
    config = config_of(app)
    if config is None or not config.get("auto_configure"):
        return
    try:
        from fastapi.telemetry import _runtime

        configured = _runtime._configured
        for signal, provider in ours.items():
            if not any(name == signal and known is provider for name, known in configured):
                configured.append((signal, provider))
    except Exception as error:  # noqa: BLE001 - private names of another package
        guard.failed(_PART, error, remedy="unset FASTAPI_OTEL_AUTO_CONFIGURE, or spans may be exported twice")


class _NativeFields(Exchange):
    """FastAPI's names for what an exchange knows."""

    __slots__ = ()

    span = None  # route and name are put on our span by `set_route`
    span_method = ""
    tracer = None  # no spans of dependencies, endpoints and serialization: three more a request, as costly as the first
    data_class: type = object
    # the dataclass's own would read fields that only a watched request has, and show bodies wherever a scope is printed
    __repr__ = object.__repr__
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def logger(self) -> Any:
        """Of log events; None for none."""
        return self.server.native.logger

    @property
    def data(self) -> Any:
        """What `get_telemetry_data()` gives, None when the request is over."""
        data = self._data
        if data is NOT_ASKED:
            data = self._data = self.data_class()
        return data

    @property
    def _exceptions(self) -> list[BaseException]:
        try:
            return self._errors
        except AttributeError:
            self._errors: list[BaseException] = []
            return self._errors

    @property
    def _mount_prefix(self) -> str:
        return self._prefix

    @_mount_prefix.setter
    def _mount_prefix(self, prefix: str) -> None:
        self._prefix = prefix
        self.routed_by_fastapi = True

    @property
    def route(self) -> str | None:
        """The full template of the chosen route; FastAPI's routing sets it."""
        return self._route

    @route.setter
    def route(self, route: str) -> None:
        self.routed_by_fastapi = True
        if self.late:
            self._route = route
            self.server_span.reach(route)  # type: ignore[union-attr]
        else:
            self.set_route(route)

    def report(self, scope: Scope, error: BaseException) -> None:
        """See `Exchange.report`; a retained context keeps no exception's frames alive."""
        if MARK in scope:
            self.server.guard.call(_PART, None, self.server.native.report, scope=scope, exc=error)
        self._exceptions.clear()


def _exchange_class(request_telemetry: type, telemetry_data: type) -> type[Exchange]:
    # made without its constructor, which would cost more than the rest: every field has a default on the class
    data_class = type("Data", (telemetry_data,), {"__init__": object.__init__})
    return type("NativeExchange", (_NativeFields, request_telemetry), {"data_class": data_class})


def included_path(route: object, scope: Scope) -> str | None:
    """The full template of a route that FastAPI 0.137 to 0.141 reached through an included router.

    Those versions keep the router's prefix beside the route, in the scope, and have no telemetry that would tell.

    Args:
        route: the chosen route.
        scope: of the request.
    """
    beside = scope.get("fastapi")
    context = beside.get("effective_route_context") if isinstance(beside, dict) else None
    if context is None or getattr(context, "original_route", None) is not route:
        return None
    return getattr(getattr(context, "starlette_route", None), "path_format", None) or getattr(
        context, "path_format", None
    )
