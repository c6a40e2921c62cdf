"""Where the shop's servers are: three environment variables, each with a default that needs no server installed."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """Addresses of what a service talks to."""

    database_url: str
    redis_url: str
    inventory_url: str


def load(*, sqlite: str, sqlite_driver: str, postgresql_driver: str) -> Config:
    """Read the environment; `sqlite` is the file used when `DATABASE_URL` is not set.

    A URL that names no driver (`postgresql://...`, `sqlite:///...`) gets the one this service works with.
    """
    url = os.environ.get("DATABASE_URL") or f"sqlite:///{sqlite}"
    scheme, separator, rest = url.partition("://")
    drivers = {"sqlite": sqlite_driver, "postgres": postgresql_driver, "postgresql": postgresql_driver}
    return Config(
        database_url=drivers.get(scheme, scheme) + separator + rest,
        redis_url=os.environ.get("REDIS_URL") or "redis://127.0.0.1:6379/0",
        inventory_url=os.environ.get("INVENTORY_URL") or "http://127.0.0.1:8001",
    )
