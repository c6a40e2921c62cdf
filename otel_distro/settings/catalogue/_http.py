"""What the HTTP instrumentations record."""

from __future__ import annotations

from otel_distro.settings._values import names, patterns
from otel_distro.settings._variable import CONTRIB, Record, variable


class Http(Record):
    """What the HTTP instrumentations record."""

    excluded_urls: tuple[str, ...] = variable(
        "OTEL_PYTHON_EXCLUDED_URLS",
        patterns(),
        (),
        "Regular expressions of URLs that make no telemetry.",
        source=CONTRIB,
    )
    fastapi_excluded_urls: tuple[str, ...] | None = variable(
        "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS",
        patterns(),
        None,
        "The same, for FastAPI's server side alone.",
        source=CONTRIB,
    )
    httpx_excluded_urls: tuple[str, ...] | None = variable(
        "OTEL_PYTHON_HTTPX_EXCLUDED_URLS", patterns(), None, "The same, for httpx and httpx2 alone.", source=CONTRIB
    )
    requests_excluded_urls: tuple[str, ...] | None = variable(
        "OTEL_PYTHON_REQUESTS_EXCLUDED_URLS", patterns(), None, "The same, for requests alone.", source=CONTRIB
    )
    urllib3_excluded_urls: tuple[str, ...] | None = variable(
        "OTEL_PYTHON_URLLIB3_EXCLUDED_URLS", patterns(), None, "The same, for urllib3 alone.", source=CONTRIB
    )
    aiohttp_client_excluded_urls: tuple[str, ...] | None = variable(
        "OTEL_PYTHON_AIOHTTP_CLIENT_EXCLUDED_URLS",
        patterns(),
        None,
        "The same, for aiohttp's client.",
        source=CONTRIB,
    )
    capture_request_headers: tuple[str, ...] = variable(
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST",
        patterns(),
        (),
        "Request headers put on server spans: names or regular expressions.",
        source=CONTRIB,
    )
    capture_response_headers: tuple[str, ...] = variable(
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE",
        patterns(),
        (),
        "Response headers put on server spans.",
        source=CONTRIB,
    )
    capture_client_request_headers: tuple[str, ...] = variable(
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST",
        patterns(),
        (),
        "Request headers put on client spans.",
        source=CONTRIB,
    )
    capture_client_response_headers: tuple[str, ...] = variable(
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE",
        patterns(),
        (),
        "Response headers put on client spans.",
        source=CONTRIB,
    )
    sanitize_headers: tuple[str, ...] = variable(
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS",
        patterns(),
        (),
        "Captured headers whose values are hidden; credentials and cookies always are.",
        source=CONTRIB,
    )
    known_methods: tuple[str, ...] = variable(
        "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
        names(),
        ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"),
        "Methods recorded by name; others become `_OTHER`.",
        source="semantic conventions",
    )
