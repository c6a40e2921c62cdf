"""`/metrics` for Prometheus: names, text, and the server that answers."""

from .render import Renderer
from .scraper import Answer, Scraper
from .server import Server

__all__ = ["Answer", "Renderer", "Scraper", "Server"]
