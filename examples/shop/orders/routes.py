"""The endpoints of the orders service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, BackgroundTasks, HTTPException
from fastapi.responses import StreamingResponse
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import selectinload

from .cache import Cache
from .database import Database, Sessions
from .models import Customer, Order
from .schemas import CustomerTotal, Invoice, OrderIn, OrderOut, ProductOut
from .stock import Inventory

router = APIRouter()

TAX_PERCENT = {"GB": 20, "DE": 19}  # nobody thought of the United States: their invoices fail


@router.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/products/{sku}")
async def read_product(sku: str, cache: Cache, inventory: Inventory) -> ProductOut:
    """From the cache when it is there, else from the inventory."""
    product = await cache.get(sku)
    if product is None:
        product = await inventory.product(sku)
        await cache.put(product)
    return product


@router.post("/orders", status_code=201)
async def place_order(
    *,
    wanted: OrderIn,
    background: BackgroundTasks,
    database: Database,
    sessions: Sessions,
    cache: Cache,
    inventory: Inventory,
) -> OrderOut:
    """Reserve the pieces, write the order, confirm it after the answer is sent."""
    if await database.get(Customer, wanted.customer_id) is None:
        raise HTTPException(404, f"no customer {wanted.customer_id}")
    await read_product(wanted.sku, cache, inventory)
    price = await inventory.reserve(wanted.sku, wanted.quantity)
    order = Order(**wanted.model_dump(), total=price * wanted.quantity)
    database.add(order)
    await database.flush()
    answer = OrderOut.model_validate(order)
    await database.commit()
    background.add_task(confirm, sessions, answer.id)
    return answer


async def confirm(sessions: async_sessionmaker[AsyncSession], order_id: int) -> None:
    """What a mail to the customer would be."""
    async with sessions.begin() as session:
        order = await session.get_one(Order, order_id)
        order.confirmed = True


@router.get("/orders/{order_id}")
async def read_order(order_id: int, database: Database) -> OrderOut:
    order = await database.get(Order, order_id)
    if order is None:
        raise HTTPException(404, f"no order {order_id}")
    return OrderOut.model_validate(order)


@router.get("/orders/{order_id}/invoice")
async def read_invoice(order_id: int, database: Database) -> Invoice:
    """Fails with a KeyError for a customer from a country that `TAX_PERCENT` does not know."""
    order = await database.get(Order, order_id, options=[selectinload(Order.customer)])
    if order is None:
        raise HTTPException(404, f"no order {order_id}")
    tax = order.total * TAX_PERCENT[order.customer.country] // 100
    return Invoice(order_id=order.id, customer=order.customer.name, net=order.total, tax=tax)


@router.get("/export")
async def export(sessions: Sessions) -> StreamingResponse:
    """Every order as CSV, sent while it is being read."""

    async def lines() -> AsyncIterator[str]:
        yield "id,sku,quantity,total\n"
        async with sessions() as session:
            async for order in await session.stream_scalars(select(Order).order_by(Order.id)):
                yield f"{order.id},{order.sku},{order.quantity},{order.total}\n"

    return StreamingResponse(lines(), media_type="text/csv")


@router.get("/report")
async def report(database: Database) -> list[CustomerTotal]:
    """The slow one: a query for each customer, and a renderer that takes its time."""
    totals = []
    for customer in await database.scalars(select(Customer).order_by(Customer.id)):
        sums = select(func.count(), func.coalesce(func.sum(Order.total), 0))
        found = (await database.execute(sums.where(Order.customer_id == customer.id))).one()
        totals.append(CustomerTotal(customer=customer.name, orders=found[0], total=found[1]))
    await asyncio.sleep(0.3)
    return totals
