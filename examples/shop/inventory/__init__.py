"""The second service: `uvicorn shop.inventory:app` or `python -m shop.inventory`."""

from .app import app

__all__ = ["app"]
