"""What does not leave the process, beside what never does."""

from __future__ import annotations

from otel_distro.settings._values import TEXT, patterns
from otel_distro.settings._variable import OURS, Record, variable


class Redaction(Record):
    """Names and a function of the user's own; credentials, SQL literals and the like are hidden without them."""

    hide: tuple[str, ...] = variable(
        "OTEL_DISTRO_REDACTION_HIDE",
        patterns(),
        (),
        "Names (regular expressions) of attributes, query parameters and log fields whose values leave as `REDACTED`.",
        source=OURS,
    )
    keep: tuple[str, ...] = variable(
        "OTEL_DISTRO_REDACTION_KEEP",
        patterns(),
        (),
        "Names (regular expressions) whose values stay though they speak of a secret; it wins over hiding.",
        source=OURS,
    )
    hook: str | None = variable(
        "OTEL_DISTRO_REDACTION_HOOK",
        TEXT,
        None,
        "`module:function` of the application's: `function(name, text)` gives the text that leaves, for every text of "
        "spans and logs; where it fails, the text leaves as `REDACTED`.",
        source=OURS,
    )
