"""GA4 analytics: reports and quotas for each tenant, vector search, and a stream of events.

What the team still says: tenant and user of a request, quotas, searches, the life of a stream.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI, Header, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select
from sqlalchemy.ext.asyncio import create_async_engine

from otel_distro import breadcrumb, capture_exception, capture_message, operation, set_context, set_user
from otel_distro.measure import Cache, Counter, Distribution, Quota, observe, timed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=5)
ga4_api = httpx.AsyncClient(base_url=os.environ["GA4_URL"], timeout=30)
embeddings_api = httpx.AsyncClient(base_url=os.environ["EMBEDDINGS_URL"], timeout=30)

metadata = MetaData()
documents = Table(
    "documents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant_id", String(40)),
    Column("body", String),
)

# calls and errors by tenant: the histogram's count, its outcome and its error.type
ga4_call = timed("ga4.api.call", description="Calls of the GA4 API.")
quota = Quota("ga4.quota", unit="{token}", description="Tokens of a property.")
report_cache = Cache("ga4_reports")
search = timed("vector.search", description="Searches, by tenant and kind.")
results_found = Distribution("vector.search.results", unit="{result}", buckets=(0, 1, 2, 5, 10, 20, 50))
embedding = timed("vector.embedding", description="Making embeddings, by model.")
embedding_batch = Distribution("vector.embedding.batch.size", unit="{text}", buckets=(1, 2, 5, 10, 20, 50, 100))
stream = timed("sse.connection", description="Streams, by tenant and endpoint.", active=True)
events_sent = Counter("sse.events.sent", unit="{event}", description="Events sent, by tenant and type.")
reports: dict[str, int] = {}
tenants: set[str] = set()
observe("ga4.active_tenants", lambda: len(tenants), unit="{tenant}", description="Tenants seen by this process.")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield
    await ga4_api.aclose()
    await embeddings_api.aclose()
    await engine.dispose()


app = FastAPI(title="GA4 analytics", lifespan=lifespan)


class Query(BaseModel):
    """What is searched for."""

    text: str
    limit: int = 10


def begin(tenant_id: str, user_id: str) -> None:
    """Whose request this is: what the old middleware told Sentry alone."""
    tenants.add(tenant_id)
    set_user(user_id)
    set_context(tenant=tenant_id)


@app.get("/analytics/{property_id}")
async def run_report(
    property_id: str, x_tenant: str = Header("none"), x_user: str = Header("anonymous")
) -> dict[str, int]:
    begin(x_tenant, x_user)
    if property_id in reports:
        report_cache.hit()
        return {"rows": reports[property_id]}
    report_cache.miss()
    breadcrumb("fetching a report", category="ga4", property_id=property_id, date_range="last_7_days")
    try:
        with ga4_call(endpoint="runReport", tenant_id=x_tenant):
            answer = await ga4_api.post(f"/v1beta/properties/{property_id}:runReport", json={})
            answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        capture_exception(error, operation="fetch_analytics", tenant_id=x_tenant)
        raise HTTPException(502, "GA4 does not answer") from error
    report = answer.json()
    quota.set(used=report["used"], limit=report["limit"], tenant_id=x_tenant, property_id=property_id)
    if report["used"] / report["limit"] > 0.9:
        capture_message("GA4 quota threshold exceeded", level="warning", quota_usage=report["used"] / report["limit"])
    reports[property_id] = report["rows"]
    return {"rows": report["rows"]}


@operation("generate_embeddings")
async def embed(texts: list[str]) -> int:
    """Vectors of texts; how many."""
    embedding_batch.record(len(texts))
    with embedding(model="text-embedding-3-small"):
        answer = await embeddings_api.post("/v1/embeddings", json={"input": texts})
        answer.raise_for_status()
    return int(answer.json()["vectors"])


@app.post("/documents", status_code=201)
async def add_documents(
    texts: list[str], x_tenant: str = Header("none"), x_user: str = Header("anonymous")
) -> dict[str, int]:
    begin(x_tenant, x_user)
    vectors = await embed(texts)
    with operation("store embeddings"):
        async with engine.begin() as connection:
            await connection.execute(insert(documents), [{"tenant_id": x_tenant, "body": text} for text in texts])
    return {"vectors": vectors}


@app.post("/search")
async def vector_search(query: Query, x_tenant: str = Header("none")) -> dict[str, Any]:
    begin(x_tenant, "anonymous")
    with search(tenant_id=x_tenant, search_type="hybrid"):
        await embed([query.text])
        async with engine.connect() as connection:
            statement = select(documents.c.body).where(documents.c.tenant_id == x_tenant).limit(query.limit)
            found = (await connection.execute(statement)).scalars().all()
    results_found.record(len(found), tenant_id=x_tenant)
    return {"results": list(found)}


@app.get("/analytics/{property_id}/stream")
async def stream_events(property_id: str, events: int = 3, x_tenant: str = Header("none")) -> StreamingResponse:
    begin(x_tenant, "anonymous")

    async def sent() -> AsyncIterator[str]:
        with stream(tenant_id=x_tenant, endpoint="/analytics/stream"):
            for number in range(events):
                yield f"event: update\ndata: {property_id} {number}\n\n"
                events_sent.add(tenant_id=x_tenant, event_type="update")
                await asyncio.sleep(0.01)

    return StreamingResponse(sent(), media_type="text/event-stream")


@app.get("/crash")
async def crash(x_tenant: str = Header("none"), x_user: str = Header("anonymous")) -> None:
    begin(x_tenant, x_user)
    raise OverflowError("nobody handles this")
