"""Entry point `otel_distro` of `opentelemetry_configurator`: sets up this process's telemetry, step by step.

What has to be there before the application begins is done at once, the rest when there is a sign that it is needed.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .start import switched_off, undisturbed

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.abc import Loader
    from types import ModuleType

    # the SDK is imported when it is configured, not when the entry point is looked at
    from opentelemetry.sdk.resources import Resource

    from .logs.access import Access
    from .pipeline import Pipeline
    from .session import Session


class Configurator:
    """Builds the pipeline and makes it the process's own; never raises."""

    def configure(self, **kwargs: Any) -> None:
        """Called by the launcher, after `OtelDistro.configure`.

        Args:
            kwargs: upstream passes `auto_instrumentation_version`; nothing here depends on it.
        """
        del kwargs
        if switched_off(os.environ):
            return
        from .distro import OtelDistro

        distro = OtelDistro()
        session = distro.session()
        if session.active:
            # all of it here and not in the launcher's loop, where another package's hook that raises would come before
            undisturbed(lambda: begin(session, loads=distro.chosen))


def begin(session: Session, *, around: Callable[[str], object] | None = None, loads: bool = True) -> None:
    """Have telemetry set up in this process: now, or at the first sign that it is needed; once.

    An application may ask again by upstream's `auto_instrumentation.initialize()`: in gunicorn's `post_fork`, or as
    taskiq's instrumentor does in each worker.

    Args:
        session: of the process, active.
        around: called with the group of other packages' hooks, before and after the instrumentations are loaded.
        loads: whether they are; another distro has its own way.
    """
    if session.begun:
        return
    session.begun = True
    _guarded(session, lambda: _begin(session, lambda: _set_up(session, around, loads=loads), loads))


def _guarded(session: Session, step: Callable[[], object]) -> None:
    """As `Guard.call`; a failure tells of OpenTelemetry packages that do not belong together, where that may be why."""
    try:
        step()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the application goes on without telemetry
        from . import requirements

        remedy = session.guard.call("requirements", "", requirements.remedy)
        session.guard.failed("configurator", error, remedy=remedy)


def _begin(session: Session, everything: Callable[[], object], loads: bool) -> None:
    from . import awakening

    session.hooks.install()
    _opt_in(session)
    _spare_metrics_sdk(session)
    _make_way_for_gevent(session)
    _tell_children(session)
    _watch_exits(session)
    modules = awakening.signs(session) if loads else None
    if modules is None:
        from .beside import beside_the_program

        with beside_the_program():
            everything()
    else:
        awakening.Awakening(session, everything).wait(modules)


def _set_up(session: Session, around: Callable[[str], object] | None, *, loads: bool) -> None:
    _guarded(session, lambda: _configure(session))
    if around is not None:
        around("opentelemetry_pre_instrument")
    if loads:
        session.guard.call("instrumentors", None, _load, session)
    if around is not None:
        around("opentelemetry_post_instrument")


def _load(session: Session) -> None:
    from .instrumentation.load import load

    load(session)


def _configure(session: Session) -> None:
    from .warming import Warming

    _redact(session)
    _propagate(session)
    made = _resource(session)
    pipeline = _pipeline(session, made)
    _install(pipeline)
    session.pipeline = pipeline
    session.guard.call("logs", None, _join_logging, session, pipeline, made)
    _join_sentry(session, pipeline, made)
    _join_scrapes(session, pipeline)
    _join_health(session, made)
    if session.settings.distro.pipeline != "upstream" and pipeline.meter_provider is not None:
        session.hooks.on_import("opentelemetry.sdk.metrics", _adopt)
    if session.settings.distro.pipeline != "upstream" and pipeline.logger_provider is not None:
        session.hooks.on_import("opentelemetry.sdk._logs", _adopt_logs)
    session.hooks.on_import("uvicorn.server", Warming(session.guard).watch_uvicorn)
    if pipeline.loops is not None:
        session.hooks.on_import("asyncio.base_events", pipeline.loops.watch_asyncio)
        session.hooks.on_import("uvloop", pipeline.loops.watch_uvloop)


def _adopt(_: ModuleType) -> None:
    """Ours are upstream's metrics to everyone who asks, which takes an import of those."""
    from .metrics.adopted import adopt
    from .otlp.metric_exporter import adopt as adopt_exporter

    adopt()
    adopt_exporter()


def _adopt_logs(_: ModuleType) -> None:
    """The same for log records."""
    from .logs.adopted import adopt

    adopt()


def _opt_in(session: Session) -> None:
    """Have contrib's instrumentations follow the stable conventions; they read the variable when they begin."""

    def tell(_: ModuleType) -> None:
        # what the user set stays
        opt_in = ",".join(session.settings.instrumentation.semconv_opt_in)
        session.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", opt_in)

    # not before: requests looks at every variable four times in each call
    session.hooks.on_import("opentelemetry.instrumentation._semconv", tell)


def _tell_children(session: Session) -> None:
    """Leave in the environment what processes of this launch have in common, whoever of them sets telemetry up."""
    from . import service
    from .process import launch

    general, environ = session.settings.general, session.environ
    # a user's own name is in the settings of all; requests looks at every further variable four times in each call
    if not service.said(general):
        name = service.name(general, session.orig_argv, service.inherited(session.role, environ))
        # an environment holds no control characters
        environ[service.PARENT_SERVICE_NAME] = "".join(c for c in name if c.isprintable())
    if "prometheus" in session.settings.metrics.exporters:
        launch(environ)


def _make_way_for_gevent(session: Session) -> None:
    if any("gevent" in word for word in (*session.orig_argv, session.environ.get("GUNICORN_CMD_ARGS", ""))):
        from .gevent_patch import patch_early

        patch_early(session)

    def imported(module: ModuleType) -> None:
        from .gevent_patch import watch

        watch(session, module)

    session.hooks.on_import("gevent.monkey", imported)


def _spare_metrics_sdk(session: Session) -> None:
    chosen = session.settings
    if chosen.distro.pipeline == "upstream" or {"redis", "*"} & {*chosen.instrumentation.disabled}:
        return

    def run(loader: Loader, module: ModuleType) -> None:
        from .spared_import import run_without_sdk

        run_without_sdk(session.hooks, session.guard, loader, module)

    session.hooks.run_by("redis.observability.providers", run)


def _redact(session: Session) -> None:
    chosen = session.settings.redaction
    if chosen.hide or chosen.keep or chosen.hook is not None:
        from .redaction import policy

        hook = None if chosen.hook is None else policy.LateHook(chosen.hook)
        policy.use(policy.build(chosen.hide, chosen.keep, hook, session.guard))


def _propagate(session: Session) -> None:
    from . import propagators

    propagators.install(session.settings.general.propagators, session.environ, session.guard)


def _resource(session: Session) -> Resource:
    from . import resource, service

    general = session.settings.general
    return resource.build(
        general,
        orig_argv=session.orig_argv,
        inherited_name=service.inherited(session.role, session.environ),
        detected=resource.detect(general.resource_detectors, session.guard),
        upstream=session.settings.distro.pipeline == "upstream",
    )


def _pipeline(session: Session, resource: Resource) -> Pipeline:
    # one of the two is imported, never both
    if session.settings.distro.pipeline == "upstream":
        from .pipeline.upstream import build
    else:
        from .pipeline.lean import build
    return build(session.settings, resource, session.guard, environ=session.environ, serves=session.serves)


def _install(pipeline: Pipeline) -> None:
    from opentelemetry import metrics, trace

    if pipeline.tracer_provider is not None:
        trace.set_tracer_provider(pipeline.tracer_provider)
    if pipeline.meter_provider is not None:
        metrics.set_meter_provider(pipeline.meter_provider)
    if pipeline.logger_provider is not None:
        from opentelemetry import _logs

        _logs.set_logger_provider(pipeline.logger_provider)


def _join_logging(session: Session, pipeline: Pipeline, resource: Resource) -> None:
    chosen = session.settings.logs
    if not {"*", "logging"}.isdisjoint(session.settings.instrumentation.disabled):
        # only lines that were asked for are touched
        chosen, pipeline.take_log = chosen.replace(correlation=False), None
    if pipeline.take_log is None and not (chosen.lines or chosen.levels or chosen.correlation):
        if chosen.correlation is not False:
            from .logs.ids import join_ids

            join_ids(str(resource.attributes["service.name"]), session.guard)
        return
    from .logs.set_up import set_up

    logs = set_up(
        chosen,
        resource,
        session.guard,
        session.hooks,
        environ=session.environ,
        take=pipeline.take_log,
        provider=pipeline.logger_provider,
    )
    if logs.lines is not None:
        pipeline.flushes.append(("log lines", logs.flush))
        pipeline.endings.append(("log lines", logs.flush))
    if logs.access is not None:
        _join_access_lines(session, logs.access)


def _join_access_lines(session: Session, access: Access) -> None:
    """Where a server writes its line after the application has returned, it is told what it returned from."""
    from .logs.access import AFTERWARDS

    def remember(_: object) -> None:
        from .instrumentation.asgi import last

        last.remember()
        access.last = last.take

    for server in AFTERWARDS:
        session.hooks.on_import(server, remember)


def _join_sentry(session: Session, pipeline: Pipeline, resource: Resource) -> None:
    # imported where there is a DSN, and nowhere else
    if session.settings.sentry.dsn is not None:
        from .sentry.setup import begin

        session.guard.call("Sentry", None, begin, session, pipeline, resource.attributes)
    else:
        session.hooks.on_import("sentry_sdk.transport", _silence_sentry)


def _silence_sentry(transport: ModuleType) -> None:
    """An application's own `sentry_sdk.init`, with a DSN in its code, makes no trace of each envelope either."""
    from .sentry.transports import silence

    silence(transport)


def _join_health(session: Session, resource: Resource) -> None:
    """Health belongs to the process once it is switched on, or the application imports it."""
    session.hooks.on_import("otel_distro.health.setup", lambda setup: setup.adopt(session, resource.attributes))
    if session.settings.health.enabled == "on":
        import_module("otel_distro.health")


def _watch_exits(session: Session) -> None:
    from .exits import Exits

    guard = session.guard
    exits = Exits(
        flush=lambda seconds: None if session.pipeline is None else session.pipeline.flush(seconds, guard),
        shutdown=lambda seconds: None if session.pipeline is None else session.pipeline.shutdown(seconds, guard),
        budget=session.settings.distro.shutdown_timeout / 1000,
        guard=guard,
    )
    exits.watch()
    session.hooks.on_import("uvicorn.server", exits.watch_uvicorn)
    session.hooks.on_import("multiprocessing.util", exits.watch_multiprocessing)
    session.hooks.on_import("billiard.pool", exits.watch_billiard)
    session.hooks.on_import("rq.worker", exits.watch_rq)


def _join_scrapes(session: Session, pipeline: Pipeline) -> None:
    if pipeline.scrapes is not None:
        if session.settings.metrics.route is not None:
            session.answers[session.settings.metrics.route] = pipeline.scrapes.answer
        # the port is bound before the server takes its first request
        session.hooks.on_import("uvicorn.server", pipeline.scrapes.begin)
