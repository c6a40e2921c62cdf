"""Scopes of sentry-sdk for requests: found when somebody asks for one, forked when somebody looks at it.

What is private here is checked by `tests/unit/test_sentry_scopes.py` in every version of sentry-sdk that is supported.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from copy import copy
from typing import Any, NamedTuple

from sentry_sdk import scope
from sentry_sdk.scope import Scope, ScopeType

_ISOLATION, _CURRENT = "_isolation_scope", "_current_scope"
"""Where sentry-sdk keeps the scope of a request, to which `sentry_sdk.set_tag` writes, and the innermost scope."""

_SLOTS: tuple[str, ...] = tuple(Scope.__slots__)
_NAMES = frozenset(_SLOTS)
_new = object.__new__


class _Filling:
    """The lock under which a scope is made or filled; a forked child gets its own: who held it is not there."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        """Forget who holds it."""
        self.lock = threading.RLock()


_FILLING = _Filling()


def filling() -> threading.RLock:
    """The lock under which a scope is made or filled."""
    return _FILLING.lock


class LazyScope(Scope):
    """A scope that is forked from another one when it is first looked at: for most requests never.

    sentry-sdk's own fork copies some twenty containers for each request.

    Attributes:
        parent: what it is forked from; None for an empty scope.
        request: finds the request that it belongs to, if any; may forget it when the request is over.
    """

    __slots__ = ("parent", "request")

    parent: Scope | None
    request: Callable[[], Any]

    def __getattr__(self, name: str) -> Any:
        """Called for a slot that nobody has written to yet."""
        if name not in _NAMES:
            raise AttributeError(name)
        self._fill()
        return object.__getattribute__(self, name)

    def __copy__(self) -> Scope:
        """A copy of this scope, for a block, that belongs to the same request."""
        copied: Any = Scope.__copy__(self)
        # it has everything; a reference to its origin would keep all scopes of threads that start threads alive
        copied.parent, copied.request = None, self._remembered()
        return copied  # type: ignore[no-any-return]

    def fork(self) -> Scope:
        """A scope for a thread or a block; as lazy as this one as long as there is nothing to copy."""
        if any([_has(self, slot) for slot in _SLOTS]):  # noqa: C419 - a list is faster for so few
            return self.__copy__()
        return lazy(self.parent, self._remembered())

    def _remembered(self) -> Callable[[], Any]:
        # a thread may outlive the request that started it
        found = self.request()
        return lambda: found

    def _fill(self) -> None:
        with _FILLING.lock:
            source = Scope(ty=ScopeType.ISOLATION) if self.parent is None else copy(self.parent)
            for slot in _SLOTS:
                if not _has(self, slot):  # what was written before it was read stays
                    object.__setattr__(self, slot, getattr(source, slot))


def _has(scope: LazyScope, slot: str) -> bool:
    try:
        object.__getattribute__(scope, slot)
    except AttributeError:
        return False
    return True


def lazy(parent: Scope | None, request: Callable[[], Any] = bool) -> LazyScope:
    """A scope that is forked from `parent` when it is first looked at."""
    # upstream's constructor fills everything, which is what is put off
    made = _new(LazyScope)
    made.parent = parent
    made.request = request
    return made


class _Placed(NamedTuple):
    """A scope, and the request in which it was put in its place."""

    request: Any
    scope: Scope | None


class ScopeVariable:
    """Stands in for a context variable of sentry-sdk's: what it holds from outside of a request does not count in it.

    So nothing has to be written when a request begins, and nothing put back at its end.

    Args:
        variable: sentry-sdk's.
        request: gives the running request, None outside of requests.
        own: makes a request's first scope, given the request and the scope around it; may give None.
    """

    def __init__(
        self,
        variable: ContextVar[Scope | None],
        request: Callable[[], Any],
        own: Callable[[Any, Scope | None], Scope | None],
    ) -> None:
        self._variable: ContextVar[Any] = variable
        self._request = request
        self._own = own
        self.name = variable.name

    def get(self, *_: object) -> Scope | None:
        """The innermost scope of the running request, outside of requests the innermost of all; None for none."""
        found = self._variable.get(None)
        request = self._request()
        if type(found) is not _Placed:
            return found if request is None else self._own(request, found)
        return found.scope if request is None or found.request is request else self._own(request, found.scope)

    def set(self, scope: Scope | None) -> Token[Any]:
        """Put a scope in its place, for the running request if there is one."""
        request = self._request()
        return self._variable.set(scope if request is None else _Placed(request, scope))

    def reset(self, token: Token[Any]) -> None:
        """Put back what `set` has replaced."""
        self._variable.reset(token)


def separate(request: Callable[[], Any], own: Callable[[Any, Scope | None], Scope | None]) -> None:
    """Have sentry-sdk find a request's own scopes without having been told of the request.

    Args:
        request: gives the running request, None outside of requests.
        own: makes a request's isolation scope, or gives the one that was made.
    """
    setattr(scope, _ISOLATION, ScopeVariable(variable(_ISOLATION), request, own))
    # sentry-sdk makes the current scope when somebody asks; what was there is not this request's
    setattr(scope, _CURRENT, ScopeVariable(variable(_CURRENT), request, lambda *_: None))


def isolation_scope() -> Scope | None:
    """The isolation scope of the running code, None where nobody has made one."""
    found = variable(_ISOLATION).get()
    return found if isinstance(found, Scope) else None


def renew(isolation: Scope) -> tuple[Token[Any], Token[Any]]:
    """Begin a request with this isolation scope and no current scope; `restore` must follow."""
    return variable(_ISOLATION).set(isolation), variable(_CURRENT).set(None)


def restore(tokens: tuple[Token[Any], Token[Any]]) -> None:
    """Put back what `renew` has replaced; where the request is closed in another context, that one stays as it is."""
    for name, token in zip((_ISOLATION, _CURRENT), tokens, strict=True):
        try:
            variable(name).reset(token)
        except (ValueError, RuntimeError):
            continue


def variable(name: str) -> Any:
    """What sentry-sdk takes for its context variable of this name."""
    return getattr(scope, name)


__all__ = [
    "LazyScope",
    "ScopeVariable",
    "filling",
    "isolation_scope",
    "lazy",
    "renew",
    "restore",
    "separate",
    "variable",
]
