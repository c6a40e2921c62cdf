"""The client of the inventory service."""

from __future__ import annotations

from typing import Annotated

import httpx
from fastapi import Depends, HTTPException, Request

from .schemas import ProductOut


class Stock:
    """What orders asks of the inventory; its 404 and 409 are passed on to our own caller."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def product(self, sku: str) -> ProductOut:
        """Title and price of a product."""
        answer = await self._client.get(f"/products/{sku}")
        return ProductOut.model_validate_json(_accepted(answer).content)

    async def reserve(self, sku: str, quantity: int) -> int:
        """Set pieces aside; gives the price of one, in cents."""
        answer = await self._client.post("/reservations", json={"sku": sku, "quantity": quantity})
        price: int = _accepted(answer).json()["price"]
        return price


def _accepted(answer: httpx.Response) -> httpx.Response:
    if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.CONFLICT):
        raise HTTPException(answer.status_code, answer.json()["detail"])
    return answer.raise_for_status()


def stock_of(request: Request) -> Stock:
    """The application's one client, so that connections are kept."""
    stock: Stock = request.app.state.stock
    return stock


Inventory = Annotated[Stock, Depends(stock_of)]
