"""Items of one export, grouped by resource and instrumentation scope, as all three signals of OTLP are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._batch import Encoded, Group, Piece
from ._values import KeyValues
from ._wire import delimited, text_field, varint, varints

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

_MAX_KEPT = 256
_USUAL = 2_048
"""Bytes below which the frame of an item is made once."""

Envelope = tuple[bytes, bytes]
"""The encoded `resource` or `scope` field, and the `schema_url` field that follows the items."""


class Envelopes:
    """Encodes each resource and each scope once; what is kept is bounded at 256 of each."""

    __slots__ = ("_resource_attributes", "_resources", "_scope_attributes", "_scopes")

    def __init__(self) -> None:
        self._resource_attributes = KeyValues(b"\x0a")
        self._scope_attributes = KeyValues(b"\x1a")
        # by identity, for an upstream Resource hashes by dumping JSON; the object is kept, so that its id stays its own
        self._resources: dict[int, tuple[object, Envelope]] = {}
        self._scopes: dict[int, tuple[object, Envelope]] = {}

    def resource(self, resource: Resource | None) -> Envelope:
        """`ResourceSpans.resource` and `.schema_url` (same numbers for metrics and logs)."""
        kept = self._resources.get(id(resource))
        if kept is not None:
            return kept[1]
        attributes = self._resource_attributes.encoded(resource.attributes if resource is not None else None)
        schema = text_field(b"\x1a", getattr(resource, "schema_url", None))
        return _keep(self._resources, resource, (delimited(b"\x0a", attributes), schema))

    def scope(self, scope: InstrumentationScope | None) -> Envelope:
        """`ScopeSpans.scope` and `.schema_url` (same numbers for metrics and logs)."""
        kept = self._scopes.get(id(scope))
        if kept is not None:
            return kept[1]
        if scope is None:
            return _keep(self._scopes, scope, (b"\x0a\x00", b""))
        payload = text_field(b"\x0a", scope.name) + text_field(b"\x12", scope.version)
        payload += self._scope_attributes.encoded(scope.attributes)
        return _keep(self._scopes, scope, (delimited(b"\x0a", payload), text_field(b"\x1a", scope.schema_url)))


def _keep(kept: dict[int, tuple[object, Envelope]], thing: object, envelope: Envelope) -> Envelope:
    if len(kept) >= _MAX_KEPT:
        kept.clear()
    kept[id(thing)] = (thing, envelope)
    return envelope


class Groups:
    """The items of one export by resource and scope, in the order in which those first came.

    Resources that encode alike are one group, as upstream groups by equality.
    """

    __slots__ = ("_by_resource", "_envelopes")

    def __init__(self, envelopes: Envelopes) -> None:
        self._envelopes = envelopes
        self._by_resource: dict[Envelope, dict[Envelope, list[bytes]]] = {}

    def items(self, resource: Any, scope: Any) -> list[bytes]:
        """The list to which encoded items (with tag and length) of this resource and scope are appended."""
        scopes = self._by_resource.setdefault(self._envelopes.resource(resource), {})
        return scopes.setdefault(self._envelopes.scope(scope), [])

    def body(self) -> bytes:
        """The export request: `ResourceSpans` > `ScopeSpans` > items, and likewise for metrics and logs."""
        parts: list[bytes] = []
        for resource, scopes in self._by_resource.items():
            inner: list[bytes] = [resource[0]]
            size = len(resource[0]) + len(resource[1])
            for (head, tail), items in scopes.items():
                length = len(head) + sum(map(len, items)) + len(tail)
                mark = b"\x12" + varint(length)
                size += len(mark) + length
                inner += (mark, head, *items, tail)
            parts += (b"\x0a" + varint(size), *inner, resource[1])
        # lengths first, so that everything is copied once
        return b"".join(parts)


class Frames:
    """What stands before each item of a request: its tag and length, made once for the usual sizes.

    Args:
        before: what stands before that, the end of the item before for instance.
        after: how many bytes more belong to each item than it has.
    """

    __slots__ = ("_after", "_before", "_usual")

    def __init__(self, before: bytes = b"", after: int = 0) -> None:
        self._before = before + b"\x12"
        self._after = after
        self._usual: tuple[bytes, ...] = ()

    def __call__(self, items: Sequence[bytes]) -> list[bytes]:
        """Each of these behind its frame."""
        # slices and `map`: what the interpreter does for each item in a loop costs more than all of this
        sizes = list(map(len, items))
        parts = [b""] * (2 * len(items))
        parts[1::2] = items
        usual = self._usual or self._table()
        parts[::2] = map(usual.__getitem__ if max(sizes, default=0) < len(usual) else self._frame, sizes)
        return parts

    def _table(self) -> tuple[bytes, ...]:
        # with the first items: nobody waits for a request as for a start
        after = self._after
        self._usual = made = tuple([self._before + length for length in varints(_USUAL + after)[after:]])
        return made

    def _frame(self, size: int) -> bytes:
        return self._before + varint(size + self._after)


_FRAMES = Frames()


def joined(pieces: Sequence[Piece], envelopes: Envelopes) -> Encoded:
    """The export request of `pieces`; those without bytes are counted as lost."""
    # the pieces hold their resources and scopes, so that an id is nobody else's meanwhile
    known: dict[tuple[int, int], list[bytes]] = {}
    groups: list[Group] = []
    resource: Any = known  # nobody's resource: the first piece always looks for its group
    scope: Any = None
    items: list[bytes] = []
    lost = 0
    for its_resource, its_scope, encoded in pieces:
        if not encoded:
            lost += 1
            continue
        if its_scope is not scope or its_resource is not resource:
            resource, scope = its_resource, its_scope
            key = (id(resource), id(scope))
            items = known.get(key) or known.setdefault(key, [])
            if not items:
                groups.append((resource, scope, items))
        items.append(encoded)
    request = Groups(envelopes)
    for its_resource, its_scope, those in groups:
        request.items(its_resource, its_scope).extend(_FRAMES(those))
    return Encoded(request.body(), len(pieces) - lost, lost, groups)
