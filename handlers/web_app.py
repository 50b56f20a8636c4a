"""A FastAPI application, as `asgi:web_app:app`. The client has its answer before the mail is sent."""

from fastapi import BackgroundTasks, FastAPI
from pydantic import BaseModel

app = FastAPI(title="Orders")


class Order(BaseModel):
    item: str
    count: int = 1


@app.post("/orders", status_code=201)
async def take(order: Order, tasks: BackgroundTasks) -> Order:
    tasks.add_task(send_mail, order)
    return order


def send_mail(order: Order) -> None:
    print(f"mail: {order.count} × {order.item}")
