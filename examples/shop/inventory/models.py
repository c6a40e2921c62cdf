"""The tables of the inventory."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import DateTime, ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Product(Base):
    """Something the shop sells; the price is in cents."""

    __tablename__ = "products"

    sku: Mapped[str] = mapped_column(String(20), primary_key=True)
    title: Mapped[str] = mapped_column(String(100))
    price: Mapped[int]
    stock: Mapped[int]


class Reservation(Base):
    """Pieces of a product set aside for an order."""

    __tablename__ = "reservations"

    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"))
    quantity: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))


PRODUCTS = [
    {"sku": "tea", "title": "Green tea, 100 g", "price": 690, "stock": 100_000},
    {"sku": "pot", "title": "Cast-iron pot", "price": 5_400, "stock": 100_000},
    {"sku": "cup", "title": "Cup, stoneware", "price": 1_250, "stock": 100_000},
    {"sku": "book", "title": "The Book of Tea", "price": 1_800, "stock": 0},
]
