"""OpenTelemetry-first tracing and metrics for FastAPI services; configured by environment variables.

The names below are imported when they are first used: `import otel_distro` imports nothing else.
"""

from __future__ import annotations

from ._version import __version__

TYPE_CHECKING = False  # as `typing` has it: checkers know the name, and a disabled start does not pay that import
if TYPE_CHECKING:
    from ._status import Status, status
    from .captures import add_attributes, breadcrumb, capture_exception, capture_message
    from .context import request_id, set_context, set_user
    from .measure import Cache, Counter, Distribution, Gauge, ModelCalls, Quota, observe, timed
    from .operations import operation

_WHERE = {
    "add_attributes": "captures",
    "breadcrumb": "captures",
    "capture_exception": "captures",
    "capture_message": "captures",
    "operation": "operations",
    "Cache": "measure",
    "Counter": "measure",
    "Distribution": "measure",
    "Gauge": "measure",
    "ModelCalls": "measure",
    "Quota": "measure",
    "Status": "_status",
    "observe": "measure",
    "timed": "measure",
    "status": "_status",
    "request_id": "context",
    "set_context": "context",
    "set_user": "context",
}


def __getattr__(name: str) -> object:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})


__all__ = [
    "Cache",
    "Counter",
    "Distribution",
    "Gauge",
    "ModelCalls",
    "Quota",
    "Status",
    "__version__",
    "add_attributes",
    "breadcrumb",
    "capture_exception",
    "capture_message",
    "observe",
    "operation",
    "request_id",
    "set_context",
    "set_user",
    "status",
    "timed",
]
