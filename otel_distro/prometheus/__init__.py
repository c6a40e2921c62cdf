"""`/metrics` for Prometheus: names, text, and the server that answers."""

from .asgi import MetricsRoute
from .endpoint import Endpoint
from .render import Renderer
from .scraper import Answer, Scraper
from .server import Server

__all__ = ["Answer", "Endpoint", "MetricsRoute", "Renderer", "Scraper", "Server"]
