"""A FastAPI application, under each of the ways to serve it."""

from fastapi import FastAPI
from mangum import Mangum
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


mangum = Mangum(app)  # runs the application's start-up and shutdown for every event
mangum_without_lifespan = Mangum(app, lifespan="off")
