"""The first service: `uvicorn shop.orders:app` or `python -m shop.orders`."""

from .app import app

__all__ = ["app"]
