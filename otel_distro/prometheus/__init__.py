"""`/metrics` for Prometheus: names, text, and the server that answers."""

from .endpoint import Endpoint
from .render import Renderer
from .scraper import Answer, Scraper
from .server import Server

__all__ = ["Answer", "Endpoint", "Renderer", "Scraper", "Server"]
