"""The orders service's engine, and the session that a handler asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from shop.config import Config
from shop.schema import prepare

from .models import CUSTOMERS, Base, Customer


async def open_engine(config: Config) -> AsyncEngine:
    """Connect, and create what is missing."""
    engine = create_async_engine(config.database_url, pool_pre_ping=True)
    async with engine.begin() as connection:
        table = Base.metadata.tables[Customer.__tablename__]
        await connection.run_sync(prepare, Base.metadata, table, CUSTOMERS)
    return engine


def sessions_of(request: Request) -> async_sessionmaker[AsyncSession]:
    """The application's session maker, for work that outlives the handler."""
    sessions: async_sessionmaker[AsyncSession] = request.app.state.sessions
    return sessions


Sessions = Annotated[async_sessionmaker[AsyncSession], Depends(sessions_of)]


async def session_of(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """One session a request, rolled back when the handler raised."""
    async with sessions() as session:
        yield session


Database = Annotated[AsyncSession, Depends(session_of)]
