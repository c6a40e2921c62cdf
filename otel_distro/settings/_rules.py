"""Rules between variables: endpoints, batches, samplers, names of installed parts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import SplitResult, urlsplit, urlunsplit

from . import _log_rules, _parts
from ._problem import Problem
from ._values import did_you_mean
from .catalogue import SAMPLERS, Batch, Metrics, Otlp, Settings, Traces

GRPC_PORT = 4317
HTTP_PORT = 4318
RATIO_SAMPLERS = ("traceidratio", "parentbased_traceidratio")


def apply(
    settings: Settings,
    environ: Mapping[str, str],
    installed: _parts.InstalledNames,
    problems: list[Problem],
    exact: Collection[str] = (),
) -> Settings:
    """Return `settings` with every rule between variables applied; each correction becomes a problem.

    Args:
        settings: as parsed.
        environ: what they were parsed from.
        installed: tells which names an entry-point group has.
        problems: gets the corrections.
        exact: variables whose unit nobody can have mistaken, because a declarative configuration says them.
    """
    _unsupported(settings, environ, problems)
    ruled = settings.replace(
        general=settings.general.replace(
            propagators=_parts.propagators(settings.general.propagators, environ, installed, problems),
            resource_detectors=_parts.detectors(settings.general.resource_detectors, installed, problems),
        ),
        python=_parts.python(settings.python, installed, problems),
        traces=_sampler(settings.traces, installed, problems).replace(
            batch=_batch(settings.traces.batch, "OTEL_BSP_", environ, problems),
        ),
        metrics=_route(settings, environ, problems),
        logs=_log_rules.resolve(settings.logs, settings.traces.limits, environ, problems).replace(
            batch=_batch(settings.logs.batch, "OTEL_BLRP_", environ, problems),
        ),
        otlp_traces=_otlp(settings.otlp_traces, "TRACES", environ, problems, exact),
        otlp_metrics=_otlp(settings.otlp_metrics, "METRICS", environ, problems, exact),
        otlp_logs=_otlp(settings.otlp_logs, "LOGS", environ, problems, exact),
    )
    if any(name.startswith("OTEL_DISTRO_HEALTH_") and name.endswith("PATHS") for name in environ):
        from . import _health_rules  # who names no paths does not pay for it

        ruled = ruled.replace(health=_health_rules.resolve(ruled.health, environ, problems))
    if ruled.sentry.dsn is None:
        return ruled
    from .sentry_rules import resolve  # who has no DSN does not pay for it

    return resolve(ruled, environ, problems)


def _unsupported(settings: Settings, environ: Mapping[str, str], problems: list[Problem]) -> None:
    """What the specification knows and this version does not do is named, not ignored in silence."""
    for name, batch in (
        ("OTEL_BSP_EXPORT_TIMEOUT", settings.traces.batch),
        ("OTEL_BLRP_EXPORT_TIMEOUT", settings.logs.batch),
    ):
        set_well = environ.get(name, "").strip() and not any(problem.variable == name for problem in problems)
        if settings.distro.pipeline == "lean" and set_well:
            reason = "an export only hands a batch to the sender, which takes no time"
            used = "OTEL_EXPORTER_OTLP_TIMEOUT bounds a request"
            _note(problems, name, str(batch.export_timeout), reason, used)
    groups = environ.get("OTEL_DISTRO_METRICS_GROUPS", "").strip()
    if settings.distro.pipeline == "upstream" and groups:
        reason = "the groups are those of our own pipeline"
        _note(problems, "OTEL_DISTRO_METRICS_GROUPS", groups[:80], reason, "upstream's metrics are as they are")


def _route(settings: Settings, environ: Mapping[str, str], problems: list[Problem]) -> Metrics:
    """A route needs metrics to show, and takes the place of a port that nobody asked for."""
    metrics = settings.metrics
    if metrics.route is None:
        return metrics
    name, reason = "OTEL_DISTRO_METRICS_ROUTE", ""
    if "prometheus" not in metrics.exporters:
        reason = "OTEL_METRICS_EXPORTER does not name prometheus"
    elif settings.distro.pipeline == "upstream":
        reason = "OTEL_DISTRO_PIPELINE=upstream has no such route"
    elif not {"fastapi", "*"}.isdisjoint(settings.instrumentation.disabled):
        reason = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS names fastapi, which would answer there"
    if reason:
        _note(problems, name, metrics.route[:80], reason, "there is no route")
        return metrics.replace(route=None)
    asked = any(environ.get(f"OTEL_EXPORTER_PROMETHEUS_{part}", "").strip() for part in ("HOST", "PORT"))
    return metrics if asked else metrics.replace(listens=False)


_SURELY_SECONDS = 100


def _timeout(
    otlp: Otlp, signal: str, environ: Mapping[str, str], problems: list[Problem], exact: Collection[str]
) -> Otlp:
    """Milliseconds by the specification, seconds in upstream Python; nobody means 10 ms for a request."""
    if not 0 < otlp.timeout < _SURELY_SECONDS:
        return otlp
    own, general = f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"
    # an own one that is no value has been named, and left the general one in force
    unusable = {problem.variable for problem in problems if problem.repair is None}
    name = own if environ.get(own, "").strip() and own not in unusable else general
    if name in exact:
        return otlp
    meant = otlp.timeout * 1000
    reason = "the unit is milliseconds, and so few are seconds as upstream's Python exporters read them"
    problems.append(Problem(name, str(otlp.timeout), reason, f"{meant} is used", repair=str(meant)))
    return otlp.replace(timeout=meant)


def without_credentials(url: str) -> str:
    """The text of a URL without user, password, query and fragment; other text with neither `://` nor `@` as it is."""
    head, separator, tail = url.partition("://")
    if not separator:
        head, tail = "", url
    if not separator and "@" not in tail and "?" not in tail:
        return url
    # a password may hold any character, so everything up to the last @ goes
    tail = tail.rpartition("@")[2]
    for mark in "?#":
        tail = tail.partition(mark)[0]
    authority, slash, path = tail.partition("/")
    host, colon, port = authority.rpartition(":")
    if colon and not port.isdigit() and not authority.endswith("]"):
        authority = f"{host}:…"  # what stands in the port's place may be a password whose @ is missing
    return head + separator + authority + slash + path


def _otlp(otlp: Otlp, signal: str, environ: Mapping[str, str], problems: list[Problem], exact: Collection[str]) -> Otlp:
    own = f"OTEL_EXPORTER_OTLP_{signal}_"
    general = "OTEL_EXPORTER_OTLP_"
    name = next((n for n in (own + "ENDPOINT", general + "ENDPOINT") if environ.get(n, "").strip()), None)
    grpc = otlp.protocol == "grpc"
    default = f"http://localhost:{GRPC_PORT}" if grpc else f"http://localhost:{HTTP_PORT}{_path(signal)}"
    otlp = _timeout(otlp, signal, environ, problems, exact)
    if name is None:
        return otlp.replace(endpoint=default)
    text = environ[name].strip()
    url = text
    reasons: list[str] = []
    if "://" not in url and not (grpc and otlp.insecure):
        url = ("https://" if url.endswith(":443") else "http://") + url
        reasons.append("it has no scheme")
    elif "://" not in url:
        url = "http://" + url
    split = _split(url)
    if split is None:
        return otlp.replace(endpoint=default)
    protocol_named = any(environ.get(prefix + "PROTOCOL", "").strip() for prefix in (own, general))
    if not grpc and split.port == GRPC_PORT:
        if protocol_named:
            _note(problems, name, text, "4317 is the port of OTLP/gRPC by convention", "it is used as it stands")
        else:
            split = _with_port(split, HTTP_PORT)
            reasons.append("4317 is the port of OTLP/gRPC and the protocol is http/protobuf")
    if reasons:
        _corrected(problems, name, text, " and ".join(reasons), urlunsplit(split))
    if not grpc:
        path = split.path.rstrip("/") + _path(signal) if name == general + "ENDPOINT" else split.path or "/"
        split = split._replace(path=path)
    return otlp.replace(endpoint=urlunsplit(split))


def _path(signal: str) -> str:
    return f"/v1/{signal.lower()}"


def _split(url: str) -> SplitResult | None:
    try:
        split = urlsplit(url)
        usable = split.scheme in {"http", "https"} and split.hostname and (split.port is None or split.port > 0)
    except ValueError:
        return None
    return split if usable else None


def _with_port(split: SplitResult, port: int) -> SplitResult:
    host, _, _ = split.netloc.rpartition(":")
    return split._replace(netloc=f"{host}:{port}")


def _corrected(problems: list[Problem], name: str, text: str, reason: str, used: str) -> None:
    # the kind's own complaint about the same value is replaced by the correction
    problems[:] = [problem for problem in problems if problem.variable != name]
    shown = without_credentials(used)
    problems.append(Problem(name, without_credentials(text), reason, f"{shown} is used", repair=used))


def _note(problems: list[Problem], name: str, text: str, reason: str, used: str) -> None:
    problems.append(Problem(name, without_credentials(text), reason, used, leave=True))


def _batch(batch: Batch, prefix: str, environ: Mapping[str, str], problems: list[Problem]) -> Batch:
    if batch.max_export_batch_size <= batch.max_queue_size:
        return batch
    name = prefix + "MAX_EXPORT_BATCH_SIZE"
    size = batch.max_queue_size
    problems.append(
        Problem(
            name,
            environ.get(name, "") or str(batch.max_export_batch_size),
            f"greater than the queue, {prefix}MAX_QUEUE_SIZE={size}",
            f"{size} is used",
            repair=str(size),
        )
    )
    return batch.replace(max_export_batch_size=size)


def _sampler(traces: Traces, installed: _parts.InstalledNames, problems: list[Problem]) -> Traces:
    name, argument = traces.sampler.lower(), traces.sampler_arg
    if name not in SAMPLERS:
        if traces.sampler in set(installed("opentelemetry_traces_sampler")):
            return traces
        hint = did_you_mean(traces.sampler, {known: known for known in SAMPLERS})
        used = "parentbased_always_on is used"
        problems.append(Problem("OTEL_TRACES_SAMPLER", traces.sampler[:80], f"no such sampler{hint}", used))
        return traces.replace(sampler="parentbased_always_on", sampler_arg=None)
    if name in RATIO_SAMPLERS and argument is not None and not _is_ratio(argument):
        reason = "not a ratio within 0..1"
        problems.append(Problem("OTEL_TRACES_SAMPLER_ARG", argument[:80], reason, "1.0 is used", repair="1.0"))
        argument = None
    return traces.replace(sampler=name, sampler_arg=argument)


def _is_ratio(text: str) -> bool:
    try:
        return 0.0 <= float(text) <= 1.0
    except ValueError:
        return False
