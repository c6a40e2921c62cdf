"""Products kept in Redis for a minute; a Redis that is away only makes things slower."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import Depends, Request
from redis.asyncio import Redis
from redis.exceptions import RedisError

from .schemas import ProductOut

logger = logging.getLogger(__name__)

SECONDS = 60


class ProductCache:
    """`get` gives None on a miss."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, sku: str) -> ProductOut | None:
        try:
            found = await self._redis.get(f"product:{sku}")
        except RedisError as error:
            logger.warning("product cache: %s", error)
            return None
        return ProductOut.model_validate_json(found) if found else None

    async def put(self, product: ProductOut) -> None:
        try:
            await self._redis.set(f"product:{product.sku}", product.model_dump_json(), ex=SECONDS)
        except RedisError as error:
            logger.warning("product cache: %s", error)


def cache_of(request: Request) -> ProductCache:
    cache: ProductCache = request.app.state.cache
    return cache


Cache = Annotated[ProductCache, Depends(cache_of)]
