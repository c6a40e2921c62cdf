"""redis-py without the metrics SDK until it is used: the same module to everyone who looks at it."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_distro.spared_import import used_later
from tests import programs

NAMES = {"MeterProvider", "OTEL_AVAILABLE"}

IMPORT = """
from typing import Optional
try:
    from opentelemetry.sdk.metrics import MeterProvider
    OTEL_AVAILABLE = True
except ImportError:
    OTEL_AVAILABLE = False
    MeterProvider = None
"""

HOOKED = """
import sys
from otel_distro.guard import Guard
from otel_distro.import_hooks import ImportHooks
from otel_distro.spared_import import run_without_sdk
lines = []
guard = Guard(output=lambda level, text: lines.append(text))
hooks = ImportHooks(guard)
hooks.install()
hooks.run_by("redis.observability.providers", lambda *run: run_without_sdk(hooks, guard, *run))
"""


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("class Manager:\n    held: Optional[MeterProvider] = None\n", False),
        ("class Manager:\n    def get(self) -> Optional[MeterProvider]: ...\n", False),
        ("def get():\n    return isinstance(1, MeterProvider)\n", True),
        ("class Manager:\n    def get(self):\n        return [lambda: OTEL_AVAILABLE]\n", True),
        ("def get():\n    from opentelemetry.sdk.metrics import MeterProvider\n    return MeterProvider\n", True),
    ],
    ids=["attribute", "result", "function", "within a method", "its own import"],
)
def test_what_a_function_names_is_used_later(source: str, used: bool) -> None:
    """Annotations read the class while the module runs; a function would miss it when it is called."""
    assert used_later(compile(IMPORT + source, "providers.py", "exec"), NAMES) is used


def run(program: str, *path: Path) -> None:
    """Run a program in a process of its own, with hooks; fails with its lines."""
    where = "".join(f"sys.path.insert(0, {str(entry)!r})\n" for entry in path)
    done = programs.run(HOOKED + where + program, ())
    assert done.returncode == 0, done.stderr


def test_redis_is_as_it_would_be_with_the_sdk() -> None:
    """Nothing of the SDK comes with redis; its flag says that it is there, and the class is the SDK's if asked for."""
    run("""
import redis
from redis.observability import providers
assert "opentelemetry.sdk.metrics" not in sys.modules
assert providers.OTEL_AVAILABLE is True
assert not hasattr(providers, "Meter")
from redis.observability.providers import MeterProvider
import opentelemetry.sdk.metrics as sdk
assert MeterProvider is sdk.MeterProvider is vars(providers)["MeterProvider"]
assert not lines, lines
""")


def test_redis_finds_the_sdk_that_is_there_already() -> None:
    """An application that has imported the metrics SDK spares nothing, and redis-py has its class as ever."""
    run("""
import opentelemetry.sdk.metrics as sdk
from redis.observability import providers
assert vars(providers)["MeterProvider"] is sdk.MeterProvider
assert "__getattr__" not in vars(providers)
""")


def test_redis_measures_by_its_own_means() -> None:
    """redis-py's own metrics, switched on by the application, are made and recorded as ever."""
    run("""
import redis
from opentelemetry import metrics
from redis.observability import OTelConfig, get_observability_instance
assert "opentelemetry.sdk.metrics" not in sys.modules
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from redis.observability.recorder import record_operation_duration
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
from redis.observability.config import MetricGroup
get_observability_instance().init(OTelConfig(metric_groups=[MetricGroup.COMMAND]))
record_operation_duration("GET", 0.25, server_address="localhost", server_port=6379, db_namespace="0")
data = reader.get_metrics_data()
names = {m.name for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
assert "db.client.operation.duration" in names, names
""")


@pytest.mark.parametrize(
    "body",
    ["class Provider(MeterProvider): pass\n", "def made():\n    return MeterProvider\n"],
    ids=["a base class", "a function"],
)
def test_a_redis_that_does_more_with_the_class_gets_it(tmp_path: Path, body: str) -> None:
    """Where the module cannot do without the SDK, it runs with it: no import fails for what is spared."""
    home = tmp_path / "redis" / "observability"
    home.mkdir(parents=True)
    (home.parent / "__init__.py").touch()
    (home / "__init__.py").touch()
    (home / "providers.py").write_text(IMPORT + body)
    run(
        """
from redis.observability import providers
import opentelemetry.sdk.metrics as sdk
assert providers.MeterProvider is sdk.MeterProvider and providers.OTEL_AVAILABLE is True
assert not lines, lines
""",
        tmp_path,
    )
