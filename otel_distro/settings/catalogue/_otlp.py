"""Where and how each signal is sent by OTLP."""

from __future__ import annotations

from collections.abc import Mapping

from otel_distro.settings._values import BOOLEAN, MILLISECONDS, PAIRS, TEXT, URL, choice
from otel_distro.settings._variable import Record, variable


class Otlp(Record):
    """Where and how one signal is sent by OTLP; every variable exists for all signals and for one."""

    endpoint: str = variable(
        "ENDPOINT",
        URL,
        "http://localhost:4318",
        "Where the collector listens; signal paths are added to the general one.",
    )
    protocol: str = variable(
        "PROTOCOL",
        choice("http/protobuf", "http/json", "grpc"),
        "http/protobuf",
        "`grpc` needs the extra `otel-distro[grpc]`.",
    )
    headers: Mapping[str, str] = variable("HEADERS", PAIRS, {}, "Headers of each request.", secret=True)
    timeout: int = variable("TIMEOUT", MILLISECONDS, 10000, "Milliseconds one request may take.")
    compression: str = variable("COMPRESSION", choice("gzip", "none"), "none", "How a request's body is packed.")
    certificate: str | None = variable("CERTIFICATE", TEXT, None, "File with the authorities to trust, PEM.")
    client_key: str | None = variable("CLIENT_KEY", TEXT, None, "File with the client's key for mTLS, PEM.")
    client_certificate: str | None = variable(
        "CLIENT_CERTIFICATE", TEXT, None, "File with the client's certificate for mTLS, PEM."
    )
    insecure: bool = variable("INSECURE", BOOLEAN, False, "grpc only: no TLS for an endpoint without scheme.")
