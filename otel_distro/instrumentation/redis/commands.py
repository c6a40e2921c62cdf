"""Redis commands as telemetry names them: key patterns instead of keys, no values, computed once for each pattern."""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

from opentelemetry.metrics import Counter, Histogram

from otel_distro.bounded import BoundedCache
from otel_distro.instrumentation.binding import NOTHING, Adds, Starts, counter_series
from otel_distro.instrumentation.database import Operation
from otel_distro.redaction import PLACEHOLDER, KeyPatterns
from otel_distro.tracing.brief import Briefs

_MAX_PATTERNS = 500
"""Different patterns one process tells apart; further keys are all `?`."""
_MAX_OPERATIONS = 2_000
_MAX_ARGUMENTS = 10
_MAX_COMMANDS = 20
_MAX_LINE = 256

_KEY_COMMANDS = """
GET SET SETEX PSETEX SETNX GETSET GETEX GETDEL MGET MSET MSETNX STRLEN APPEND GETRANGE SETRANGE SUBSTR INCR INCRBY
INCRBYFLOAT DECR DECRBY SETBIT GETBIT BITCOUNT BITPOS BITFIELD BITFIELD_RO DEL UNLINK EXISTS TOUCH EXPIRE EXPIREAT
PEXPIRE PEXPIREAT EXPIRETIME PEXPIRETIME TTL PTTL PERSIST TYPE DUMP RESTORE RENAME RENAMENX COPY MOVE SORT SORT_RO
HSET HSETNX HGET HMSET HMGET HGETALL HDEL HEXISTS HLEN HKEYS HVALS HINCRBY HINCRBYFLOAT HSCAN HSTRLEN HRANDFIELD
HEXPIRE HPEXPIRE HTTL HPERSIST HGETEX HGETDEL HSETEX LPUSH RPUSH LPUSHX RPUSHX LPOP RPOP LRANGE LLEN LINDEX LSET
LREM LTRIM LINSERT LPOS LMOVE RPOPLPUSH BLPOP BRPOP BLMOVE BRPOPLPUSH SADD SREM SMEMBERS SISMEMBER SMISMEMBER SCARD
SPOP SRANDMEMBER SMOVE SSCAN SINTER SUNION SDIFF SINTERSTORE SUNIONSTORE SDIFFSTORE ZADD ZREM ZSCORE ZMSCORE ZINCRBY
ZCARD ZCOUNT ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX ZREVRANGEBYLEX ZLEXCOUNT ZRANK ZREVRANK
ZPOPMIN ZPOPMAX BZPOPMIN BZPOPMAX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREMRANGEBYLEX ZRANGESTORE ZUNIONSTORE
ZINTERSTORE ZSCAN ZRANDMEMBER XADD XLEN XRANGE XREVRANGE XDEL XTRIM XACK XPENDING XCLAIM XAUTOCLAIM GEOADD GEODIST
GEOHASH GEOPOS GEOSEARCH GEOSEARCHSTORE GEORADIUS PFADD PFCOUNT PFMERGE WATCH JSON.GET JSON.SET JSON.MGET JSON.DEL
JSON.MERGE JSON.NUMINCRBY JSON.ARRAPPEND JSON.ARRLEN JSON.OBJKEYS JSON.TYPE TS.ADD TS.GET TS.RANGE TS.INCRBY BF.ADD
BF.EXISTS CF.ADD CF.EXISTS
JSON.ARRPOP JSON.ARRTRIM JSON.CLEAR JSON.NUMMULTBY JSON.OBJLEN JSON.TOGGLE TS.DEL TS.DECRBY TS.INFO TS.REVRANGE BF.CARD
BF.INFO BF.MADD BF.MEXISTS CF.ADDNX CF.COUNT CF.DEL CF.INFO CF.MEXISTS CMS.INFO CMS.QUERY TOPK.ADD TOPK.COUNT TOPK.QUERY
TDIGEST.ADD TDIGEST.CDF TDIGEST.QUANTILE TDIGEST.RANK HEXPIREAT HPEXPIREAT HEXPIRETIME HPEXPIRETIME HPTTL ZDIFFSTORE
DELEX DIGEST INCREX XACKDEL XDELEX XNACK XCFGSET VADD VCARD VDIM VEMB VGETATTR VINFO VLINKS VRANDMEMBER VRANGE VREM
VSETATTR VSIM ARCOUNT ARDEL ARDELRANGE ARGET ARGETRANGE ARGREP ARINFO ARINSERT ARLASTITEMS ARLEN ARMGET ARMSET ARNEXT
AROP ARRING ARSCAN ARSEEK ARSET
"""
_KEYED = frozenset(_KEY_COMMANDS.split())
"""Commands whose first argument is a key."""
_ONE = frozenset({"GET", "GETEX", "GETDEL", "HGET", "HGETALL", "JSON.GET"})
_SEVERAL = frozenset({"MGET", "HMGET", "JSON.MGET"})
_LOOKUPS = _ONE | _SEVERAL


_NAME = re.compile(r"[A-Z][A-Z0-9._-]{0,31}")
_WITH_SUBCOMMAND = frozenset(
    [
        "ACL",
        "CLIENT",
        "CLUSTER",
        "COMMAND",
        "CONFIG",
        "DEBUG",
        "FUNCTION",
        "HIMPORT",
        "HOTKEYS",
        "LATENCY",
        "MEMORY",
        "MODULE",
        "OBJECT",
        "PUBSUB",
        "SCRIPT",
        "SENTINEL",
        "SLOWLOG",
        "XGROUP",
        "XINFO",
    ]
)
OTHER = "OTHER"
"""Stands for a command whose name is none."""


def plain(args: Sequence[Any]) -> tuple[str, Any, int]:
    """Name, key and number of parts of a command that is not written as `"GET", key`.

    redis-py takes a whole line as a command and splits it (`execute_command("SET user:1 secret")`), lower case as well.
    Nothing but a name may become a span's name and a metric's label.

    Returns:
        The name, `OTHER` where it is none; the key, None where the command has none; name and arguments together.
    """
    command = args[0]
    text = command.decode("utf-8", "replace") if isinstance(command, bytes) else str(command)
    words = text[:_MAX_LINE].split()
    name = words[0].upper() if words else ""
    rest: Sequence[Any] = (*words[1:], *args[1:])
    if not _NAME.fullmatch(name):
        return OTHER, None, len(args)
    if name in _WITH_SUBCOMMAND and rest and isinstance(rest[0], str) and _NAME.fullmatch(rest[0].upper()):
        return f"{name} {rest[0].upper()}", None, len(rest)
    return name, (rest[0] if rest and name in _KEYED else None), len(rest) + 1


class RedisOperation(Operation):
    """A command on keys of one pattern.

    Attributes:
        looks_up: what a reply tells about the cache: 0 nothing, 1 hit or miss, 2 one of them for each item.
        hits: counts lookups that found something.
        misses: counts those that did not.
        met: see `meet`; None before.
    """

    __slots__ = ("hits", "looks_up", "met", "misses")

    is_statement: ClassVar[bool] = False

    looks_up: int
    hits: Adds
    misses: Adds
    met: tuple[Briefs, Briefs] | None

    def __init__(self, name: str, attributes: dict[str, Any], histogram: Histogram | None, batch: bool) -> None:
        super().__init__(name, attributes, histogram, batch)
        self.met = None
        self.looks_up = 0
        self.hits = self.misses = NOTHING

    def meet(self, tracer: Starts) -> tuple[Briefs, Briefs]:
        """Make spans by this tracer from now on.

        Returns:
            Those of single lookups that found something, and of those that did not, which are counted with them. Of
            other commands both are the same, and nothing is counted.
        """
        if self.looks_up == 1:
            met = self.briefs(tracer, self.hits), self.briefs(tracer, self.misses)
        else:
            alike = self.briefs(tracer)
            met = alike, alike
        # in one step: another thread finds both or none
        self.met = met
        return met

    def count(self, reply: Any) -> None:
        """Count the lookups of one call."""
        if self.looks_up == 1:
            # HGETALL of nothing is an empty mapping, an empty string is a value
            (self.misses if reply is None or reply == {} else self.hits).step(1)
        elif isinstance(reply, list):
            missed = reply.count(None)
            if missed:
                self.misses.step(missed)
            if missed < len(reply):
                self.hits.step(len(reply) - missed)


Lookups = Sequence[tuple[int, RedisOperation]]


class Target:
    """What one connection pool (or cluster client) leads to.

    Args:
        attributes: of every span.

    Attributes:
        operations: by command, pattern and number of arguments.
    """

    __slots__ = ("attributes", "operations")

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes
        self.operations: BoundedCache[tuple[Any, str, int], RedisOperation] = BoundedCache(_MAX_OPERATIONS)


class Commands:
    """Finds the operation of a command.

    Args:
        duration: `db.client.operation.duration`; None where redis-py measures it itself.
        lookups: `cache.lookups`.
    """

    def __init__(self, duration: Histogram | None, lookups: Counter) -> None:
        self._duration = duration
        self._lookups = lookups
        self._pattern_of = KeyPatterns(_MAX_PATTERNS).of
        self._targets: dict[int, Target] = {}
        self._references: dict[int, weakref.ref[Any]] = {}

    def measure_durations(self, duration: Histogram | None) -> None:
        """Measure with another instrument from now on; None where somebody else does."""
        self._duration = duration
        for target in tuple(self._targets.values()):
            target.operations.clear()

    def operation(self, client: Any, args: Sequence[Any]) -> RedisOperation:
        """The operation of one command.

        Args:
            client: any client of redis-py.
            args: the command and its arguments.
        """
        command = args[0]
        number = len(args)
        if command in _KEYED:
            pattern = self._pattern_of(args[1]) if number > 1 else ""
        else:
            command, key, number = plain(args)
            pattern = "" if key is None else self._pattern_of(key)
        if number > _MAX_ARGUMENTS:  # noqa: PLR1730 - a call would cost three times as much
            number = _MAX_ARGUMENTS
        target = self._targets.get(id(getattr(client, "connection_pool", None))) or self.target(client)
        return target.operations.get((command, pattern, number)) or self._learn(target, command, pattern, number)

    def batch(self, client: Any, commands: Sequence[Sequence[Any]], kind: str) -> tuple[RedisOperation, str]:
        """The operation of a pipeline and its text, a line for each command.

        Args:
            client: the pipeline.
            commands: each with its arguments; at least one.
            kind: `MULTI` or `PIPELINE`.
        """
        shown = [self.operation(client, command) for command in commands[:_MAX_COMMANDS]]
        if len(commands) == 1:
            # a batch of one is no batch (semantic conventions, db.operation.batch.size)
            return shown[0], shown[0].attributes["db.query.text"]
        text = "\n".join(operation.attributes["db.query.text"] for operation in shown)
        if len(commands) > _MAX_COMMANDS:
            text += "\n..."
        first = shown[0].name
        name = f"{kind} {first}" if all(operation.name == first for operation in shown) else kind
        target = self.target(client)
        key = (name, "", 0)
        known = target.operations.get(key)
        if known is None:
            attributes = {**target.attributes, "db.operation.name": name}
            known = target.operations.keep(key, RedisOperation(name, attributes, self._duration, batch=True))
        return known, text

    def lookups(self, client: Any, commands: Sequence[Sequence[Any]]) -> Lookups:
        """The commands of a pipeline that look something up: the place of each, and its operation."""
        return [
            (place, self.operation(client, command))
            for place, command in enumerate(commands)
            if command and command[0] in _LOOKUPS
        ]

    def target(self, client: Any) -> Target:
        """Where the client's commands go."""
        owner = getattr(client, "connection_pool", None)
        if owner is None:
            owner = _cluster_of(client)
        key = id(owner)
        target = self._targets.get(key)
        if target is None:
            target = Target(_attributes(owner))
            self._references[key] = weakref.ref(owner, lambda _: self._forget(key))
            self._targets[key] = target
        return target

    def pools(self) -> list[Any]:
        """The connection pools that commands have gone through and that are still there; no clusters."""
        owners = [reference() for reference in tuple(self._references.values())]
        return [owner for owner in owners if hasattr(owner, "connection_kwargs") and hasattr(owner, "max_connections")]

    def _learn(self, target: Target, command: Any, pattern: str, number: int) -> RedisOperation:
        name = command.decode("utf-8", "replace") if isinstance(command, bytes) else str(command)
        rest = number - (2 if pattern else 1)
        text = " ".join([name, *([pattern] if pattern else []), *[PLACEHOLDER] * rest])
        attributes = {**target.attributes, "db.operation.name": name, "db.query.text": text}
        made = RedisOperation(name, attributes, self._duration, batch=False)
        if name in _LOOKUPS:
            made.looks_up = 1 if name in _ONE else 2
            made.hits = self._counter(name, pattern, "hit")
            made.misses = self._counter(name, pattern, "miss")
        return target.operations.keep((command, pattern, number), made)

    def _counter(self, name: str, pattern: str, result: str) -> Adds:
        return counter_series(
            self._lookups,
            {
                "db.system.name": "redis",
                "db.operation.name": name,
                "cache.key.pattern": pattern,
                "cache.result": result,
            },
        )

    def _forget(self, key: int) -> None:
        self._targets.pop(key, None)
        self._references.pop(key, None)


def _cluster_of(client: Any) -> Any:
    """The object that stands for a cluster, the same for a client and its pipelines."""
    client = getattr(client, "cluster_client", None) or getattr(client, "_client", None) or client
    manager = client.nodes_manager
    # synchronous pipelines share only their client's node manager; the asynchronous one takes no weak references
    return manager if type(manager).__weakrefoffset__ else client


def _attributes(owner: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {"db.system.name": "redis"}
    options = getattr(owner, "connection_kwargs", None)
    nodes = getattr(getattr(owner, "nodes_manager", owner), "startup_nodes", None)
    if isinstance(options, dict) and nodes is None:
        attributes["db.namespace"] = str(options.get("db") or 0)
        if "path" in options:
            attributes["server.address"] = options["path"]
        elif not hasattr(owner, "service_name"):
            # a sentinel's pool learns the address of the master later, and it may change
            attributes["server.address"] = options.get("host", "localhost")
            attributes["server.port"] = int(options.get("port", 6379))
    elif isinstance(nodes, dict) and nodes:
        attributes["db.namespace"] = "0"
        first = next(iter(nodes.values()))
        attributes["server.address"] = str(first.host)
        attributes["server.port"] = int(first.port)
    return attributes
