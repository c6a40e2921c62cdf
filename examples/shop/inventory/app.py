"""The inventory: what there is, what it costs, and setting pieces aside. Plain functions, run in threads by FastAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select, update
from sqlalchemy.orm import sessionmaker

from shop import config as configuration

from .database import Database, open_engine
from .models import Product, Reservation


class ProductOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    sku: str
    title: str
    price: int


class ReservationIn(BaseModel):
    sku: str
    quantity: Annotated[int, Field(gt=0, le=1_000)]


class ReservationOut(BaseModel):
    id: int
    price: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    config = configuration.load(
        sqlite="inventory.db", sqlite_driver="sqlite+pysqlite", postgresql_driver="postgresql+psycopg"
    )
    engine = open_engine(config)
    app.state.sessions = sessionmaker(engine)
    yield
    engine.dispose()


app = FastAPI(title="inventory", lifespan=lifespan)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/products/{sku}")
def read_product(sku: str, database: Database) -> ProductOut:
    product = database.get(Product, sku)
    if product is None:
        raise HTTPException(404, f"no product {sku!r}")
    return ProductOut.model_validate(product)


@app.post("/reservations", status_code=201)
def reserve(wanted: ReservationIn, database: Database) -> ReservationOut:
    """Take pieces out of the stock, or answer 409 when there are not enough."""
    price = database.scalar(select(Product.price).where(Product.sku == wanted.sku))
    if price is None:
        raise HTTPException(404, f"no product {wanted.sku!r}")
    taken = database.execute(
        update(Product)
        .where(Product.sku == wanted.sku, Product.stock >= wanted.quantity)
        .values(stock=Product.stock - wanted.quantity)
        .returning(Product.stock)
    ).scalar()
    if taken is None:
        raise HTTPException(409, f"not enough of {wanted.sku!r}")
    reservation = Reservation(sku=wanted.sku, quantity=wanted.quantity)
    database.add(reservation)
    database.flush()
    answer = ReservationOut(id=reservation.id, price=price)
    database.commit()
    return answer
