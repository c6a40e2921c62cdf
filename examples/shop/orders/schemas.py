"""What the API takes and gives."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class OrderIn(BaseModel):
    customer_id: int
    sku: str
    quantity: Annotated[int, Field(gt=0, le=1_000)]


class OrderOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    sku: str
    quantity: int
    total: int
    confirmed: bool


class ProductOut(BaseModel):
    sku: str
    title: str
    price: int


class Invoice(BaseModel):
    order_id: int
    customer: str
    net: int
    tax: int


class CustomerTotal(BaseModel):
    customer: str
    orders: int
    total: int
