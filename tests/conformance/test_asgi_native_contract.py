"""Every private name of FastAPI that `instrumentation/asgi/native.py` relies on is still what it takes it for."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

_api = pytest.importorskip("fastapi.telemetry._api", reason="this FastAPI has no telemetry of its own")
ROOT = Path(__file__).parents[2]


def test_a_scope_with_the_mark_is_left_to_others():
    """`FastAPI.__call__` looks for the key that our exchange lies under."""
    assert '"fastapi.telemetry" in scope' in inspect.getsource(FastAPI.__call__)


def test_fastapi_asks_whether_its_telemetry_is_enabled():
    """`FastAPI.__call__` begins nothing of its own when `NativeTelemetry.enabled()` says no."""
    from fastapi.telemetry import _asgi

    assert "not self._native_telemetry.enabled()" in inspect.getsource(FastAPI.__call__)
    assert list(inspect.signature(_asgi.NativeTelemetry.enabled).parameters) == ["self"]


def test_the_record_has_the_fields_our_exchange_stands_in_for():
    """What routing and exceptions read and write: a new field is one our exchange does not have."""
    found = {field.name for field in fields(_api._RequestTelemetry)}
    ours = {"span", "span_method", "tracer", "logger", "route", "status_code", "data", "_mount_prefix", "_exceptions"}
    assert found <= ours


def test_the_route_is_told_by_assignment():
    """`_route_selected` adds to the mount prefix and sets the route of the record in the scope."""
    source = inspect.getsource(_api._route_selected)
    assert "request_telemetry._mount_prefix += path" in source
    assert "request_telemetry.route = request_telemetry._mount_prefix + path" in source


def test_the_datas_fields_have_defaults_on_the_class():
    """`TelemetryData` can be made without its constructor."""
    assert all(field.default is not MISSING for field in fields(_api.TelemetryData))
    made = type("Made", (_api.TelemetryData,), {"__init__": object.__init__})()
    assert made.request is None
    assert made.errors is None


def test_the_context_key_is_where_the_data_is_looked_for():
    """`get_telemetry_data` reads the record from the current context under the key we attach it with."""
    from opentelemetry.context import Context

    record = _api._RequestTelemetry(span=None, span_method="GET")
    context = Context({_api._REQUEST_TELEMETRY_KEY: record})
    assert _api.get_telemetry_data(context) is record.data


def test_exceptions_are_reported_by_scope_and_error():
    """`_exception(scope=, exc=)` takes the two as keywords."""
    from fastapi.telemetry import _asgi

    assert list(inspect.signature(_asgi._exception).parameters) == ["scope", "exc"]


def test_the_application_keeps_its_wishes():
    """`FastAPI(telemetry=...)` is kept complete in `_telemetry`."""
    config: Any = FastAPI(telemetry={"tracing": False})._telemetry
    assert {"tracer_provider", "meter_provider", "logger_provider", "metrics", "logs", "exclude"} <= set(config)
    assert config["tracing"] is False


_AUTO_CONFIGURED = """
from fastapi import FastAPI
from opentelemetry import trace, metrics
from tests.asgi_rig import Rig, get, test_client

rig = Rig(modules=({modules}))
trace.set_tracer_provider(rig.tracer_provider)
metrics.set_meter_provider(rig.meter_provider)
before = rig.tracer_provider._active_span_processor._span_processors
app = FastAPI(openapi_url=None)
with test_client(app) as client:
    client.get("/")
print(len(rig.tracer_provider._active_span_processor._span_processors) - len(before), rig.lines)
"""


@pytest.mark.parametrize(("modules", "added"), [("'starlette.applications', 'fastapi.applications'", 0), ("", 1)])
def test_auto_configuration_adds_no_second_exporter(modules, added):
    """With `FASTAPI_OTEL_AUTO_CONFIGURE` and an endpoint FastAPI gives the provider an exporter, unless it is ours."""
    environ = {
        **os.environ,
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-c", _AUTO_CONFIGURED.format(modules=modules)]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{added} []"
