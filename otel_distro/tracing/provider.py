"""A `TracerProvider` to everyone who asks, with tracers that make lean spans."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.types import Attributes

from otel_distro import settings
from otel_distro._compat import ProviderFields
from otel_distro.guard import Guard
from otel_distro.process import in_forked_child

from .attributes import SpanLimits
from .ids import RandomIds
from .processors import Processors
from .tracer import LeanTracer

_MAX_TRACERS = 1000


class LeanTracerProvider(ProviderFields, TracerProvider):
    """Makes tracers, and takes processors.

    It registers no exit hook (the distro ends all signals within one budget) and reads no environment variable.

    Args:
        resource: what every span carries.
        sampler: from `otel_distro.sampling.build`, or any `Sampler`.
        limits: what a span may hold.
        guard: where failures of processors, samplers and id generators go.
        id_generator: any `IdGenerator`; random ids when None.
        resource_for_child: called in a forked child for the resource of its spans (another process, another
            `service.instance.id`); None keeps the parent's.

    Attributes:
        sampler: as given.
        id_generator: as given, or the random one.
        pipeline: the processors, with the limits and the resource.
    """

    def __init__(
        self,
        *,
        resource: Resource,
        sampler: Sampler,
        limits: settings.Limits,
        guard: Guard,
        id_generator: IdGenerator | None = None,
        resource_for_child: Callable[[], Resource] | None = None,
    ) -> None:
        # upstream's constructor registers exit and fork hooks and reads the environment: neither is wanted here
        self.sampler = sampler
        self.id_generator = RandomIds() if id_generator is None else id_generator  # type: ignore[assignment]
        self.pipeline = Processors(limits=SpanLimits.from_settings(limits), resource=resource, guard=guard)
        self._guard = guard
        self._resource_for_child = resource_for_child
        self._by_name: dict[object, LeanTracer] = {}
        in_forked_child(self._after_fork, guard.failed)

    @property
    def resource(self) -> Resource:
        """What every span carries."""
        return self.pipeline.resource

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> LeanTracer:
        """The tracer of that scope, one object for equal scopes (up to a thousand of them)."""
        name, version = instrumenting_module_name or "", instrumenting_library_version or ""
        if not name:
            self._guard.warn("get_tracer was called without a name", once="tracer name")
        # the key needs no scope object where there are no attributes: contrib asks for a tracer for each client session
        key: object = (name, version, schema_url or "") if not attributes else None
        tracer = self._by_name.get(key) if key is not None else None
        if tracer is not None:
            return tracer
        scope = InstrumentationScope(name, version, schema_url, attributes)
        if key is None:
            key = scope
        return self._by_name.get(key) or self._new_tracer(key, scope)

    def _new_tracer(self, key: object, scope: InstrumentationScope) -> LeanTracer:
        tracer = LeanTracer(scope=scope, sampler=self.sampler, id_generator=self.id_generator, processors=self.pipeline)
        if len(self._by_name) >= _MAX_TRACERS:
            self._guard.warn(
                "more than 1000 different tracers were asked for; give get_tracer names that do not change",
                once="tracers",
            )
            return tracer
        return self._by_name.setdefault(key, tracer)

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Have every span pass `span_processor` as well, after those that are there."""
        self.pipeline.add_span_processor(span_processor)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send what waits; False when a processor failed or was not done within `timeout_millis`."""
        return self.pipeline.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 2000) -> None:
        """Send what waits and stop, within `timeout_millis`."""
        self.pipeline.shutdown(timeout_millis)

    def _after_fork(self) -> None:
        self.pipeline.after_fork()
        if isinstance(self.id_generator, RandomIds):
            self.id_generator.after_fork()
        if self._resource_for_child is not None:
            self.pipeline.resource = self._resource_for_child()


__all__ = ["LeanTracerProvider"]
