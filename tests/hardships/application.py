"""The application that the hardships are done to."""

from fastapi import FastAPI
from starlette.responses import StreamingResponse

app = FastAPI()


@app.get("/health")
async def health() -> str:
    """Answers when the application is up."""
    return "ok"


@app.get("/n/{number}")
async def one(number: int) -> int:
    """A request that can be told from every other."""
    return number


@app.get("/stream")
async def stream() -> StreamingResponse:
    """A body in pieces."""
    return StreamingResponse(iter([b"a", b"b", b"c"]))
