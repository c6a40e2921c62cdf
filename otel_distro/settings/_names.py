"""Names in the environment that nobody here reads: unsupported ones with the reason, misspelt ones with a guess.

A name that some other package, language or operator reads is none of our business; a false alarm is worse than none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ._problem import Problem

_CONFIGURATORS = "scopes cannot be configured one by one"
_OWN_PROVIDERS = "the distro sets its own providers"
_ATTRIBUTE = "OTEL_RESOURCE_ATTRIBUTES says it"

UNSUPPORTED: Mapping[str, tuple[str, str]] = {
    "OTEL_ENTITIES": ("entities are not read", _ATTRIBUTE),
    "OTEL_EXPERIMENTAL_CONFIG_FILE": ("the former name of OTEL_CONFIG_FILE", "it is not read"),
    "OTEL_PYTHON_TRACER_CONFIGURATOR": (_CONFIGURATORS, "every tracer records"),
    "OTEL_PYTHON_METER_CONFIGURATOR": (_CONFIGURATORS, "every meter records"),
    "OTEL_PYTHON_LOGGER_CONFIGURATOR": (_CONFIGURATORS, "every logger records"),
    "OTEL_PYTHON_TRACER_PROVIDER": (_OWN_PROVIDERS, "it is not read"),
    "OTEL_PYTHON_METER_PROVIDER": (_OWN_PROVIDERS, "it is not read"),
    "OTEL_PYTHON_LOGGER_PROVIDER": (_OWN_PROVIDERS, "it is not read"),
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": ("upstream's SDK alone has them", "status() has our counters"),
    "OTEL_PYTHON_INSTRUMENTATION_HTTP_CAPTURE_ALL_METHODS": (
        "stable conventions record unknown methods as _OTHER",
        "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS lists the known ones",
    ),
    "OTEL_PYTHON_ASGI_EXCLUDED_URLS": ("no instrumentation reads it", "OTEL_PYTHON_EXCLUDED_URLS counts"),
    "OTEL_EXPORTER_OTLP_SPAN_INSECURE": ("an obsolete name", "OTEL_EXPORTER_OTLP_TRACES_INSECURE counts"),
    "OTEL_EXPORTER_OTLP_METRIC_INSECURE": ("an obsolete name", "OTEL_EXPORTER_OTLP_METRICS_INSECURE counts"),
    "OTEL_SERVICE_VERSION": ("not a variable of the specification", f"{_ATTRIBUTE}: service.version=..."),
    "OTEL_SERVICE_NAMESPACE": ("not a variable of the specification", f"{_ATTRIBUTE}: service.namespace=..."),
    "OTEL_ENVIRONMENT": ("not a variable of the specification", f"{_ATTRIBUTE}: deployment.environment.name=..."),
}
"""Variables that users set elsewhere and that do nothing here: name -> why, and what counts instead."""

_JAEGER = ("Jaeger's own protocol has left the specification", "Jaeger takes OTLP, set OTEL_EXPORTER_OTLP_ENDPOINT")
_ZIPKIN = ("the Zipkin exporter is a package of its own", "OTEL_TRACES_EXPORTER=zipkin uses it where it is installed")
_CREDENTIALS = ("our own exporter takes no credential provider", "OTEL_DISTRO_PIPELINE=upstream does")

_OTHERS = (
    r"OTEL_(?:JAVA\w*|NODE|DOTNET|GO|PHP|RUBY|ERLANG|ELIXIR|RUST|CPP|SWIFT|DENO|LAMBDA|AWS|AZURE|OPERATOR|INJECTOR|"
    r"COLLECTOR|COL|OTELCOL|EBPF|BPF|WEAVER|DEMO|SIDECAR|AGENT|AUTO|OPAMP|PROFILER|CLI|SCHEMA)_\w+"
    # the operator and other SDKs
    r"|OTEL_RESOURCE_(?:ATTRIBUTES_(?:POD|NODE)_\w+|PROVIDERS_\w+|DISABLED_KEYS)|OTEL_(?:POD|NODE|HOST)_IP|OTEL_PROFILES_\w+"
    r"|OTEL_INSTRUMENTATION_(?!HTTP_)\w+|OTEL_INSTRUMENTATION_HTTP_(?:CLIENT|SERVER)_(?:EMIT|CAPTURE)\w*"
    r"|OTEL_EXPERIMENTAL_(?!RESOURCE_DET)\w+"
    r"|OTEL_EXPORTER_(?:PROMETHEUS_(?:ENDPOINT|PREFIX|APPEND\w*)|LOGGING\w*|RICH_CONSOLE\w*)"
    # contrib's instrumentations that are not ours
    r"|OTEL_PYTHON_(?:LOG(?:GING)?_\w+|DJANGO_\w+|\w+_TRACED_REQUEST_ATTRS|EXPORTER_OTLP_GRPC_\w+|AWS_\w+|GENAI_\w+)"
    r"|OTEL_PYTHON_(?:FLASK|DJANGO|FALCON|TORNADO|PYRAMID|WSGI|AIOHTTP_SERVER|URLLIB|HTTPX2|BOTTLE)_EXCLUDED_URLS"
    # Kubernetes' links to services
    r"|OTEL\w*_(?:SERVICE_(?:HOST|PORT)(?:_\w+)?|PORT_\d+_(?:TCP|UDP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SURE = 0.85
_PERHAPS = 0.6


def _is_anothers(name: str) -> bool:
    import re  # only a name that is unknown pays for so long an expression

    return re.fullmatch(_OTHERS, name) is not None


def check(unread: Mapping[str, str], known: Collection[str], *, exporters: Iterable[str], lean: bool) -> list[Problem]:
    """A problem for each `OTEL_*` name that does nothing and was most likely meant to.

    Args:
        unread: those variables of the environment that nothing reads.
        known: every name that is read.
        exporters: those of traces; an exporter that is used reads its own variables.
        lean: whether our own pipeline runs.
    """
    found: list[Problem] = []
    for name, text in unread.items():
        problem = _unsupported(name, set(exporters), lean=lean) or _unknown(name, text, known)
        if problem is not None:
            found.append(problem)
    return found


def _unsupported(name: str, exporters: Collection[str], *, lean: bool) -> Problem | None:
    said = UNSUPPORTED.get(name)
    if name.startswith("OTEL_EXPORTER_JAEGER_"):
        said = _JAEGER
    elif name.startswith("OTEL_EXPORTER_ZIPKIN_") and not any(used.startswith("zipkin") for used in exporters):
        said = _ZIPKIN
    elif name.startswith("OTEL_PYTHON_EXPORTER_OTLP_HTTP_") and name.endswith("CREDENTIAL_PROVIDER") and lean:
        said = _CREDENTIALS
    return None if said is None else Problem(name, "…", *said, leave=True)


def _unknown(name: str, text: str, known: Collection[str]) -> Problem | None:
    if name.startswith(("OTEL_EXPORTER_ZIPKIN_", "OTEL_PYTHON_EXPORTER_OTLP_HTTP_")) or _is_anothers(name):
        return None
    if name.endswith("_PORT") and "://" in text:  # Kubernetes' link to a service
        return None
    from difflib import get_close_matches  # only paid for when a name is unknown

    ours = name.startswith("OTEL_DISTRO_")
    near = get_close_matches(name[:100], known, n=1, cutoff=_PERHAPS if ours else _SURE)
    if near:
        return Problem(name, "…", f"no such variable; did you mean {near[0]}?", "it is not read", leave=True)
    return Problem(name, "…", "no such variable", "it is not read", leave=True) if ours else None
