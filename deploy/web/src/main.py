"""A FastAPI application, as `asgi:main:app`: an answer, work after it, and one that is streamed."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI(title="Greetings")


@app.get("/greeting")
async def greeting(name: str = "Samovar") -> dict[str, str]:
    return {"greeting": f"Hello from {name}"}


@app.post("/orders", status_code=201)
async def order(tasks: BackgroundTasks) -> dict[str, bool]:
    tasks.add_task(print, "the client has its answer already")
    return {"taken": True}


@app.get("/words")
async def words() -> StreamingResponse:
    return StreamingResponse(spoken(), media_type="text/plain")


async def spoken() -> AsyncIterator[str]:
    for word in ("one", "two", "three"):
        yield f"{word}\n"
        await asyncio.sleep(0.1)
