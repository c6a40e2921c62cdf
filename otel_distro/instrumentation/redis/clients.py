"""The methods of redis-py's clients through which every command and every pipeline goes, wrapped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Token
from functools import partial, wraps
from time import perf_counter, time_ns
from types import ModuleType
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext

from otel_distro._compat import IS_VALID, OLD_SUPPRESS_KEY, SPAN_KEY, SUPPRESS_KEY
from otel_distro.context import current_scope
from otel_distro.guard import Guard
from otel_distro.instrumentation.binding import Starts
from otel_distro.instrumentation.calls import CLIENT, current, parent_in
from otel_distro.instrumentation.hooks import Hooks
from otel_distro.tracing.context import attach, detach, suppressed_in

from .commands import Commands, Lookups, RedisOperation

_PART = "instrumentation redis"
_KNOWN = """
ASK BUSY BUSYGROUP BUSYKEY CLUSTERDOWN CROSSSLOT DENIED ERR EXECABORT INPROG INVALIDOBJ IOERR LOADING MASTERDOWN
MISCONF MOVED NOAUTH NOGOODSLAVE NOGROUP NOMASTERLINK NOPERM NOPROTO NOQUORUM NOREPLICAS NOSCRIPT NOTBUSY NOTREADY OOM
READONLY REDIRECT STALE TRYAGAIN UNBLOCKED UNKILLABLE WRONGPASS WRONGTYPE
"""
_PREFIXES = frozenset(_KNOWN.split())
"""Of simple errors of Redis, Sentinel and Valkey."""
Begun = tuple[Span, RedisOperation, float, Lookups | None]
"""Span, operation, start, and what a pipeline looks up; None for a command by itself."""


class Clients:
    """The patch.

    Nothing is made current while a command runs: no code below a client looks for it.

    Args:
        tracer: starts spans.
        commands: knows the operations.
        hooks: the user's.
        guard: where failures go.

    Attributes:
        tracer: may be replaced at any time.
    """

    def __init__(self, tracer: Starts, commands: Commands, hooks: Hooks, guard: Guard) -> None:
        self.tracer = tracer
        self._commands = commands
        self._hooks = hooks
        self._guard = guard
        self._replaced: list[tuple[type, str, Any]] = []
        self._answers: tuple[type[BaseException], ...] = ()

    def wrap(self, redis: ModuleType) -> None:
        """Patch the classes of this version of redis-py that there are."""
        if self._replaced:
            return
        self._answers = (redis.WatchError, redis.exceptions.NoScriptError)
        for path, wrapper in (
            ("client.Redis.execute_command", self._command),
            ("client.Pipeline.immediate_execute_command", self._command),
            ("client.Pipeline.execute", self._pipeline),
            ("cluster.RedisCluster.execute_command", self._command),
            ("cluster.ClusterPipeline.execute", partial(self._pipeline, alone=True)),
            # from 6.1 on: what runs between WATCH and MULTI
            ("cluster.TransactionStrategy._immediate_execute_command", _of_strategy(self._command)),
            ("asyncio.client.Redis.execute_command", self._async_command),
            ("asyncio.client.Pipeline.immediate_execute_command", self._async_command),
            ("asyncio.client.Pipeline.execute", self._async_pipeline),
            ("asyncio.cluster.RedisCluster.execute_command", self._async_command),
            ("asyncio.cluster.ClusterPipeline.execute", partial(self._async_pipeline, alone=True)),
            ("asyncio.cluster.TransactionStrategy._immediate_execute_command", _of_strategy(self._async_command)),
        ):
            *modules, name, method = path.split(".")
            place: Any = redis
            for part in (*modules, name):
                place = getattr(place, part, None)
            original = getattr(place, "__dict__", {}).get(method)
            if original is not None:
                self._replaced.append((place, method, original))
                setattr(place, method, wrapper(original))

    def unwrap(self) -> None:
        """Take every patch back."""
        for place, method, original in self._replaced:
            setattr(place, method, original)
        self._replaced.clear()

    def _command(self, original: Callable[..., Any]) -> Callable[..., Any]:
        guard, hooks, ended, failed = self._guard, self._hooks, self._ended_briefly, self._failed_briefly

        @wraps(original)
        def execute_command(client: Any, *args: Any, **options: Any) -> Any:
            if hooks.wanted or self.tracer.brief is None or not args:
                return whole(client, *args, **options)
            started = perf_counter()
            try:
                reply = original(client, *args, **options)
            except BaseException as error:
                guard.call(_PART, None, failed, client, args, started, error)
                raise
            try:
                ended(client, args, started, reply)
            except Exception as error:  # noqa: BLE001 - the reply is the application's
                guard.failed(_PART, error)
            return reply

        def whole(client: Any, *args: Any, **options: Any) -> Any:
            begun = self._begin(client, args, options)
            if begun is None:
                return original(client, *args, **options)
            try:
                reply = original(client, *args, **options)
            except BaseException as error:
                self._failed(begun, error)
                raise
            self._ended(begun, client, reply)
            return reply

        return execute_command

    def _async_command(self, original: Callable[..., Any]) -> Callable[..., Any]:
        guard, hooks, ended, failed = self._guard, self._hooks, self._ended_briefly, self._failed_briefly

        @wraps(original)
        async def execute_command(client: Any, *args: Any, **options: Any) -> Any:
            if hooks.wanted or self.tracer.brief is None or not args:
                return await whole(client, *args, **options)
            started = perf_counter()
            try:
                reply = await original(client, *args, **options)
            except BaseException as error:
                guard.call(_PART, None, failed, client, args, started, error)
                raise
            try:
                ended(client, args, started, reply)
            except Exception as error:  # noqa: BLE001 - the reply is the application's
                guard.failed(_PART, error)
            return reply

        async def whole(client: Any, *args: Any, **options: Any) -> Any:
            begun = self._begin(client, args, options)
            if begun is None:
                return await original(client, *args, **options)
            try:
                reply = await original(client, *args, **options)
            except BaseException as error:
                self._failed(begun, error)
                raise
            self._ended(begun, client, reply)
            return reply

        return execute_command

    def _pipeline(self, original: Callable[..., Any], *, alone: bool = False) -> Callable[..., Any]:
        """As the application sees it; `alone`: commands that it sends again one by one make no spans of their own."""

        @wraps(original)
        def execute(pipeline: Any, *args: Any, **options: Any) -> Any:
            begun = self._begin_batch(pipeline)
            if begun is None:
                return original(pipeline, *args, **options)
            token = _silence() if alone else None
            try:
                replies = original(pipeline, *args, **options)
            except BaseException as error:
                self._failed(begun, error)
                raise
            finally:
                if token is not None:
                    detach(token)
            self._ended(begun, pipeline, replies)
            return replies

        return execute

    def _async_pipeline(self, original: Callable[..., Any], *, alone: bool = False) -> Callable[..., Any]:
        @wraps(original)
        async def execute(pipeline: Any, *args: Any, **options: Any) -> Any:
            begun = self._begin_batch(pipeline)
            if begun is None:
                return await original(pipeline, *args, **options)
            token = _silence() if alone else None
            try:
                replies = await original(pipeline, *args, **options)
            except BaseException as error:
                self._failed(begun, error)
                raise
            finally:
                if token is not None:
                    detach(token)
            self._ended(begun, pipeline, replies)
            return replies

        return execute

    def _begin(self, client: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Begun | None:
        try:
            context = current()
            if (context and suppressed_in(context)) or not args:
                return None
            hooks = None
            if self._hooks.wanted:
                hooks = self._hooks.of(client)
                if hooks is None:
                    return None
            operation = self._commands.operation(client, args)
            parent = parent_in(context) if context else None
            span = self.tracer.begin(operation.name, CLIENT, parent, operation.attributes.copy())
            if hooks is not None and hooks.request is not None:
                hooks.request(span, client, args, options)
            return span, operation, perf_counter(), None
        except Exception as error:  # noqa: BLE001 - the command runs as it would without us
            self._guard.failed(_PART, error)
            return None

    def _begin_batch(self, pipeline: Any) -> Begun | None:
        try:
            context = current()
            commands = _queued(pipeline)
            if (context and suppressed_in(context)) or not commands:
                return None
            operation, text = self._commands.batch(pipeline, commands, "MULTI" if _atomic(pipeline) else "PIPELINE")
            attributes = {**operation.attributes, "db.query.text": text}
            if len(commands) > 1:
                attributes["db.operation.batch.size"] = len(commands)
            parent = parent_in(context) if context else None
            lookups = self._commands.lookups(pipeline, commands)
            return self.tracer.begin(operation.name, CLIENT, parent, attributes), operation, perf_counter(), lookups
        except Exception as error:  # noqa: BLE001 - the pipeline runs as it would without us
            self._guard.failed(_PART, error)
            return None

    def _ended(self, begun: Begun, client: Any, reply: Any) -> None:
        try:
            span, operation, started, lookups = begun
            if lookups is None:
                if operation.looks_up:
                    operation.count(reply)
            elif lookups and isinstance(reply, list):
                _count_each(lookups, reply)
            if self._hooks.wanted:
                hooks = self._hooks.of(client)
                if hooks is not None and hooks.response is not None:
                    hooks.response(span, client, reply)
            operation.end(span, started)
        except Exception as error:  # noqa: BLE001 - the reply is the application's
            self._guard.failed(_PART, error)

    def _failed(self, begun: Begun, error: BaseException) -> None:
        try:
            span, operation, started, _ = begun
            if isinstance(error, self._answers):
                # a lock that was lost, a script that is to be loaded first: who asks like that expects it, and goes on
                operation.end(span, started)
            else:
                operation.fail(span, started, error, status_code(error))
        except Exception as failure:  # noqa: BLE001 - see above
            self._guard.failed(_PART, failure)

    def _ended_briefly(self, client: Any, args: tuple[Any, ...], started: float, reply: Any) -> None:
        """A command that went well: all that is to be told of it is looked up and made now."""
        now, end_time, context = perf_counter(), time_ns(), current()
        if (SUPPRESS_KEY in context or OLD_SUPPRESS_KEY in context) and suppressed_in(context):
            return
        operation, tracer = self._commands.operation(client, args), self.tracer
        met = operation.met
        if met is None or met[0].tracer is not tracer:  # type: ignore[comparison-overlap]  # a lean one is both
            met = operation.meet(tracer)
        briefs = met[0]
        if operation.looks_up == 1:
            # as `count`, which is told of it later
            if reply is None or (reply.__class__ is dict and not reply):
                briefs = met[1]
        elif operation.looks_up:
            operation.count(reply)
        # from here on as `Operation.ended`, without the call
        seconds = now - started
        parent: Any = getattr(context.get(SPAN_KEY), "context", None)
        if parent.__class__ is not SpanContext or not parent[IS_VALID]:
            parent = parent_in(context)
        scope = current_scope()
        briefs.ended(parent, scope, end_time - int(seconds * 1e9), end_time, seconds, now)
        if scope is not None:
            spent = scope.spent or scope.spending()
            if spent is not None:
                spent.redis_calls += 1
                spent.redis_seconds += seconds

    def _failed_briefly(self, client: Any, args: tuple[Any, ...], started: float, error: BaseException) -> None:
        context = current()
        if suppressed_in(context):
            return
        operation = self._commands.operation(client, args)
        if isinstance(error, self._answers):
            operation.ended(self.tracer, context, started)
        else:
            operation.failed(self.tracer, context, started, error, status_code(error))


def _of_strategy(wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[..., Callable[..., Any]]:
    """`wrapper` for a method of a cluster pipeline's strategy: who knows the cluster is the pipeline."""

    def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
        def below(pipeline: Any, *args: Any, **options: Any) -> Any:
            return original(pipeline._execution_strategy, *args, **options)  # noqa: SLF001 - the way back

        traced = wrapper(below)

        @wraps(original)
        def immediate(strategy: Any, *args: Any, **options: Any) -> Any:
            return traced(strategy._pipe, *args, **options)  # noqa: SLF001 - it has no public name

        return immediate

    return wrapped


def _count_each(lookups: Lookups, replies: list[Any]) -> None:
    """Count what a pipeline looked up; a command that failed among them found nothing and missed nothing."""
    for place, operation in lookups:
        if place < len(replies) and not isinstance(replies[place], Exception):
            operation.count(replies[place])


def _atomic(pipeline: Any) -> bool:
    """Whether a pipeline is a transaction; synchronous, asynchronous and cluster pipelines have a name of their own."""
    # on cluster pipelines `transaction` is a method; the synchronous one only knows how it goes about it
    names = ("transaction", "is_transaction", "_transaction", "explicit_transaction")
    return (
        any(getattr(pipeline, name, False) is True for name in names)
        or type(getattr(pipeline, "_execution_strategy", None)).__name__ == "TransactionStrategy"
    )


def _silence() -> Token[Context]:
    """No spans until the token is given back: a cluster's pipeline sends commands again that were redirected."""
    return attach(Context({**current(), SUPPRESS_KEY: True}))


def _queued(pipeline: Any) -> Sequence[Sequence[Any]]:
    """The commands of a pipeline, each with its arguments; redis-py keeps them in four places."""
    holder = getattr(pipeline, "_execution_strategy", pipeline)
    for name in ("command_queue", "_command_queue", "command_stack", "_command_stack"):
        stack = getattr(holder, name, None)
        if stack is not None:
            return [command.args if hasattr(command, "args") else command[0] for command in stack]
    return ()


def status_code(error: BaseException) -> str | None:
    """The prefix of Redis' simple error, such as `WRONGTYPE`.

    Redis-py takes some prefixes away, from 7.2 on into a field of the exception. What then comes first in the message
    may be a word in capitals as well (`EXEC without MULTI`), as in messages of its own: only known prefixes are one.
    """
    prefix = str(error).partition(" ")[0]
    if prefix in _PREFIXES:
        return prefix
    told = getattr(error, "status_code", None)
    return told if isinstance(told, str) and told else None
