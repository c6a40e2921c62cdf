"""Secrets in every place where an application has them, and every exit by which telemetry leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.programs import run
from tests.servers import OtlpSink
from tests.servers.sentry import SentryServer

KINDS = (
    "QUERY", "OUTURL", "USERINFO", "HEADER", "COOKIE", "LITERAL", "PARAMETER", "REDISKEY", "ATTRIBUTE", "EVENT",
    "RAISED", "MESSAGE", "EXTRA", "OTHERSURL", "OTHERSTEXT",
)  # fmt: skip
"""What each canary is hidden in; `CANARY-LITERAL` is one of a statement, and so on."""

PROGRAM = """
import os, sys
if {naked}:
    import otel_distro.redaction as redaction
    from otel_distro.redaction import policy
    same = lambda text, *_: text
    for name in ("redact_url", "redact_query", "redact_text", "redact_exception", "redact_message", "sanitize_sql"):
        setattr(redaction, name, same)
    redaction.key_pattern = redaction.KeyPatterns.of = lambda *a: str(a[-1])
    for module in (redaction, policy):
        module.is_secret_attribute = module.is_secret_field = lambda name: False
    from otel_distro.instrumentation import captured_headers
    import re
    captured_headers._SECRET = lambda: re.compile("(?!)")
from otel_distro.start import start
start()

# a stack trace shows lines of source: the secrets are made when the program runs
secret = "-".join(("CANARY", ""))
import asyncio, logging
import fakeredis, httpx, sqlalchemy
from fastapi import FastAPI
from opentelemetry import metrics, trace

logger = logging.getLogger("shop")
engine = sqlalchemy.create_engine("sqlite://")
cache = fakeredis.FakeRedis()
app = FastAPI()

@app.get("/buy/{{item}}")
def buy(item: str):
    span = trace.get_current_span()
    span.set_attribute("user.password", f"{{secret}}ATTRIBUTE")
    span.add_event("login", {{"api_key": f"{{secret}}EVENT"}})
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"SELECT '{{secret}}LITERAL' AS a"))
        try:
            connection.execute(sqlalchemy.text("SELECT * FROM missing WHERE a = :a"), {{"a": f"{{secret}}PARAMETER"}})
        except Exception as error:
            span.record_exception(error)
            logger.exception("query failed")
    cache.set(f"user:{{secret}}REDISKEY", "value")
    with trace.get_tracer("of.others").start_as_current_span("call", kind=trace.SpanKind.CLIENT) as call:
        call.set_attribute("http.url", f"http://joe:{{secret}}OTHERSURL@h/p?token={{secret}}OTHERSURL")
    with trace.get_tracer("of.others").start_as_current_span("call", kind=trace.SpanKind.CLIENT) as call:
        call.set_attributes({{"db.system": "postgresql", "db.statement": f"SELECT '{{secret}}OTHERSTEXT'"}})
    try:
        httpx.get(f"http://joe:{{secret}}USERINFO@127.0.0.1:9/p?token={{secret}}OUTURL")
    except httpx.HTTPError as error:
        span.record_exception(error)
    logger.warning(f"login with password={{secret}}MESSAGE failed", extra={{"access_token": f"{{secret}}EXTRA"}})
    raise RuntimeError(f"no answer of http://h/?api_key={{secret}}RAISED")

async def main():
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://shop")
    async with client:
        headers = {{"authorization": f"Bearer {{secret}}HEADER", "cookie": f"session={{secret}}COOKIE"}}
        await client.get("/buy/7", params={{"code": f"{{secret}}QUERY"}}, headers=headers)

asyncio.run(main())
metrics.get_meter("shop").create_counter("sold").add(1)
import otel_distro
print(otel_distro.status())
"""


@dataclass(frozen=True)
class Leaks:
    """Where canaries were seen.

    Attributes:
        kinds: which of them, sorted.
        where: exits they left by.
        exits: exits by which anything left, so that an exit that is silent proves nothing.
    """

    kinds: tuple[str, ...]
    where: tuple[str, ...]
    exits: tuple[str, ...]


def leaks(*, naked: bool) -> Leaks:
    """Run a program full of secrets and look for them in all that left.

    Args:
        naked: without redaction, to see that the canaries would be seen.
    """
    with OtlpSink() as sink, SentryServer() as sentry:
        done = run(
            PROGRAM.format(naked=naked),
            ("env",),
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
            OTEL_TRACES_EXPORTER="otlp,console",
            OTEL_METRICS_EXPORTER="otlp",
            OTEL_LOGS_EXPORTER="otlp",
            OTEL_DISTRO_LOGS="json",
            OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST=".*",
            SENTRY_DSN=sentry.dsn,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        left = {f"otlp {request.signal}": b"" for request in sink.requests}
        for request in sink.requests:
            left[f"otlp {request.signal}"] += request.body
        left["stdout"] = done.stdout.encode()
        left["stderr"] = done.stderr.encode()
        left["sentry"] = json.dumps([sentry.events, [str(span) for span in sentry.spans]], default=str).encode()
    return Leaks(
        kinds=tuple(sorted(kind for kind in KINDS if any(f"CANARY-{kind}".encode() in text for text in left.values()))),
        where=tuple(sorted(name for name, text in left.items() if b"CANARY" in text)),
        exits=tuple(sorted(name for name, text in left.items() if len(text) > 50)),
    )
