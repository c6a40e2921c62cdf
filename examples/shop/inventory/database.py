"""The inventory's engine, and the session that a handler asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

from shop.config import Config
from shop.schema import prepare

from .models import PRODUCTS, Base, Product


def open_engine(config: Config) -> Engine:
    """Connect, and create what is missing."""
    engine = create_engine(config.database_url, pool_pre_ping=True)
    with engine.begin() as connection:
        prepare(connection, Base.metadata, Base.metadata.tables[Product.__tablename__], PRODUCTS)
    return engine


def session_of(request: Request) -> Iterator[Session]:
    """One session a request, rolled back when the handler raised."""
    sessions: sessionmaker[Session] = request.app.state.sessions
    with sessions() as session:
        yield session


Database = Annotated[Session, Depends(session_of)]
