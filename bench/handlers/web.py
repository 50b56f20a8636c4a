"""A FastAPI application, the same under each of the ways to serve it."""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Item(BaseModel):
    name: str
    price: float
    tags: list[str]


class Order(BaseModel):
    customer: int
    items: list[Item]


@app.get("/items/{item}")
async def item(item: int, q: str = "") -> dict[str, object]:
    return {"item": item, "q": q, "tags": ["new", "red"]}


@app.post("/orders")
async def order(order: Order) -> Order:
    return order
