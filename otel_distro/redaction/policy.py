"""Whose values are hidden: names that speak of a secret, the user's own lists, and for the rest the user's function.

One policy holds for all exits of a process, which is why it lives here and not in each of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast
from urllib.parse import unquote_plus

from otel_distro.bounded import Memo
from otel_distro.guard import Guard
from otel_distro.patterns import late, usable
from otel_distro.records import dataclass

REDACTED = "REDACTED"
"""The mark of what was hidden: it stands in the place of the value."""
PLACEHOLDER = "?"
"""The mark of a hidden literal in SQL and in Redis keys."""
LOOKED_AT = frozenset({"url.full", "url.query", "http.url", "http.target", "db.query.text", "db.statement"})
"""Attributes of the semantic conventions, of both generations, whose text may hold a secret; see `others`."""

Hook = Callable[[str, str], str]
"""`hook(name, text)` gives the text that leaves; the name is the attribute's, or `body` for a log message."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user adds to the names below.

    Attributes:
        hide: find further names whose values are hidden.
        keep: find names whose values stay though they speak of a secret; they win.
        hook: sees every text of spans and logs last, and gives what leaves.
        guard: gets what the hook raises.
    """

    hide: tuple[re.Pattern[str], ...] = ()
    keep: tuple[re.Pattern[str], ...] = ()
    hook: Hook | None = None
    guard: Guard | None = None


class NoHookError(Exception):
    """There is no function where the user says that one is; the words are about the place and no text that leaves."""


class LateHook:
    """`module:function`, imported when it is first called: it is the application's, which is not there at the start.

    Args:
        path: as the user wrote it.

    Raises:
        NoHookError: when called, as long as there is no such function.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._function: Hook | None = None

    def __call__(self, name: str, text: str) -> str:
        function = self._function
        if function is None:
            function = self._function = self._found()
        return function(name, text)

    def _found(self) -> Hook:
        module, _, attribute = self._path.partition(":")
        if not module or not attribute:
            raise NoHookError(f"{self._path!r} is not of the form module:function")
        try:
            found = getattr(import_module(module), attribute)
        except Exception as error:
            raise NoHookError(f"{self._path!r}: {type(error).__name__}: {error}") from error
        if not callable(found):
            raise NoHookError(f"{self._path!r} is no function")
        return cast("Hook", found)


class InForce:
    """The policy of this process; set once by the configurator."""

    policy = Policy()


_PARAMETER = late(
    r"token(?!i[sz]|s?[-_.]?(?:count|limit|type|usage|budget))|secret(?!ar)|passw|passphrase|pwd|credential|"
    r"signature|^sig$|api[-_.]?key|access[-_.]?key|private[-_.]?key|^key$|auth(?!or(?!i[sz]))|session|^sid$|jwt|^code$|^otp$|"
    r"^pin$|^pass$|cookie|^awsaccesskeyid$",
    re.IGNORECASE,
)
# `max_tokens=512` of a language model's API counts words
_COUNT = late(
    r"(?:^|[-_.])(?:max|min|num|n|total|prompt|completion|input|output|used|cached|reasoning|remaining|new)"
    r"(?:[-_.]\w{1,20})?[-_.]?tokens?$|^(?:max|min|num|total|prompt|input|output)\w{0,10}Tokens$",
    re.IGNORECASE,
)
# narrower: a message says "code=404" and "tokens: 512", which hide nothing
_FIELD = late(
    r"passw|passphrase|secret(?!ar)|credential|api[-_. ]?key|private[-_. ]?key|access[-_. ]?key|authori[sz]ation|"
    r"cookie|jwt|token$|(?:^|[-_.])(?:pass|pwd|pw|auth|dsn|otp|pin|sid|signature|session[-_.]?(?:id|key))$|session[-_.]?id$",
    re.IGNORECASE,
)
_LONGEST_NAME = 256
_MOST_NAMES = 1024
_CONVENTIONAL = frozenset({"session.id", "session.previous_id"})
"""Attributes of the semantic conventions that are identifiers by definition, unless the user's list has them."""


def use(policy: Policy) -> None:
    """Make `policy` the one of this process."""
    InForce.policy = policy
    for known in (_PARAMETERS, _FIELDS, _ATTRIBUTES):
        known.clear()


def build(hide: Sequence[str], keep: Sequence[str], hook: Hook | None, guard: Guard) -> Policy:
    """A policy from regular expressions; one that does not compile is said and left out."""
    return Policy(
        usable(hide, "OTEL_DISTRO_REDACTION_HIDE", guard, re.IGNORECASE),
        usable(keep, "OTEL_DISTRO_REDACTION_KEEP", guard, re.IGNORECASE),
        hook,
        guard,
    )


def _parameter(name: str) -> bool:
    name = name[:_LONGEST_NAME]
    plain = unquote_plus(name) if "%" in name else name
    return _decides(plain, lambda: _PARAMETER().search(plain) is not None and _COUNT().search(plain) is None)


def _field(name: str) -> bool:
    plain = name[:_LONGEST_NAME]
    return _decides(plain, lambda: _FIELD().search(plain) is not None)


def _attribute(name: str) -> bool:
    plain = name[:_LONGEST_NAME]
    return _decides(plain, lambda: plain not in _CONVENTIONAL and _FIELD().search(plain) is not None)


def _remembered(decide: Callable[[str], bool]) -> Memo[str, bool]:
    # an application has few names, and each is asked for with every request
    return Memo(decide, most=_MOST_NAMES, heaviest=_LONGEST_NAME, weigh=len)


_PARAMETERS, _FIELDS, _ATTRIBUTES = map(_remembered, (_parameter, _field, _attribute))

is_secret_parameter: Callable[[str], bool] = _PARAMETERS.__getitem__
"""Whether the name of a query parameter speaks of a secret: `access_token` does, `author`, `max_tokens` do not."""
is_secret_field: Callable[[str], bool] = _FIELDS.__getitem__
"""Whether a name in a text, or of a variable, speaks of a secret: `password` does, `tokens` and `code` do not."""
is_secret_attribute: Callable[[str], bool] = _ATTRIBUTES.__getitem__
"""Whether the value of an attribute, or of a log's field, of this name does not leave: `session.id` does."""


def is_secret_option(argument: object) -> bool:
    """Whether an argument of a command says that the next is a secret: `--password`, and not `--password=x`."""
    return type(argument) is str and argument[:2] == "--" and "=" not in argument and is_secret_field(argument[2:])


def stays(name: str) -> bool:
    """Whether the user's list says that values of this name leave as they are."""
    return _is_found(InForce.policy.keep, name)


def _decides(name: str, ours: Callable[[], bool]) -> bool:
    if stays(name):
        return False
    return _is_found(InForce.policy.hide, name) or ours()


def _is_found(patterns: Sequence[re.Pattern[str]], name: str) -> bool:
    return any(pattern.search(name) for pattern in patterns)


def hooked() -> bool:
    """Whether the user has a function for the rest."""
    return InForce.policy.hook is not None


def further(name: str, text: str, *, ours: bool = False) -> str:
    """What the user's function makes of `text`; hidden altogether when it raises or gives no text.

    Args:
        name: see `Hook`.
        text: what is to leave.
        ours: the distro says it, so where the function fails it stays: it may be the line that says so.
    """
    policy = InForce.policy
    if policy.hook is None:
        return text
    try:
        made: object = policy.hook(name, text)
        if isinstance(made, str):
            return made
        reason = f"it gave {type(made).__name__} for a text"
    except NoHookError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - the application's function, in the application's path
        # its words may be the text: `names[text]` raises KeyError with it
        reason = type(error).__name__
    if policy.guard is not None:
        policy.guard.failed("OTEL_DISTRO_REDACTION_HOOK", reason, remedy=f"such texts leave as {REDACTED}")
    return text if ours else REDACTED
