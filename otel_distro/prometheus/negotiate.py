"""Which format and encoding a scraper wants."""

from __future__ import annotations

from otel_distro.records import dataclass

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_TEXT_VERSIONS = {"", "0.0.4", "1.0.0"}
_LONGEST = 4096  # characters of a header that are looked at


@dataclass(frozen=True, slots=True)
class Format:
    """What to answer with.

    Args:
        openmetrics: else text 0.0.4.
        content_type: of the answer.
        gzip: whether to compress.
    """

    openmetrics: bool
    content_type: str
    gzip: bool


def negotiate(accept: str, accept_encoding: str) -> Format:
    """The scraper's favourite among what there is; text 0.0.4 when it names nothing that there is.

    Args:
        accept: of the request, or "".
        accept_encoding: of the request, or "".
    """
    best, openmetrics, escaping = 0.0, False, False
    for media, parameters, quality in _parts(accept):
        version = parameters.get("version", "")
        # who knows 1.1 reads 1.0; 0.0.1 is another format
        is_openmetrics = media == "application/openmetrics-text" and version.partition(".")[0] in {"", "1"}
        is_text = media == "text/plain" and version in _TEXT_VERSIONS
        if (is_openmetrics or is_text or media in {"*/*", "text/*"}) and quality > best:
            best, openmetrics, escaping = quality, is_openmetrics, "escaping" in parameters
    kind = OPENMETRICS if openmetrics else TEXT
    # names are always underscored, which a scraper that knows other escapings has to be told (Prometheus 3)
    content_type = f"{kind}; escaping=underscores" if escaping else kind
    encodings = {media: quality for media, _, quality in _parts(accept_encoding)}
    return Format(openmetrics, content_type, encodings.get("gzip", encodings.get("*", 0.0)) > 0)


def _parts(header: str) -> list[tuple[str, dict[str, str], float]]:
    found = []
    for part in header[:_LONGEST].split(","):
        media, *rest = (piece.strip() for piece in part.split(";"))
        parameters = {k.strip().lower(): v.strip().strip('"') for k, _, v in (piece.partition("=") for piece in rest)}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        if media:
            found.append((media.lower(), parameters, quality))
    return found
