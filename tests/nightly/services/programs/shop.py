"""A web service that calls models from each kind of FastAPI endpoint.

With ``SERVICE_ENDPOINT`` the service itself is traced, as its operators would do: a global SDK
provider that sends there, and OpenTelemetry's instrumentation. ``MODELS_ENDPOINT`` is the endpoint
of the client, which has no other setting for it.
"""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_ml import Client

client = Client(endpoint=os.environ.get("MODELS_ENDPOINT"))
provider = TracerProvider()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield
    client.flush()
    provider.shutdown()


app = FastAPI(lifespan=lifespan)


@client.trace(name="embed")
def embed(text: str) -> list[int]:
    return [len(text)]


@client.trace(name="predict")
def predict(text: str) -> list[int]:
    return embed(text)


@client.trace(name="ask")
async def ask(text: str) -> list[int]:
    return embed(text)


@client.trace(name="stream")
def stream(text: str) -> Iterator[str]:
    for word in text.split("-"):
        yield f"{word}{embed(word)[0]} "


@client.trace(name="stream_async")
async def stream_async(text: str) -> AsyncIterator[str]:
    for word in text.split("-"):
        yield f"{word}{embed(word)[0]} "


@client.trace(name="later")
def later(text: str) -> list[int]:
    return embed(text)


@app.get("/sync")
def answer_sync(text: str) -> list[int]:
    return predict(text)


@app.get("/async")
async def answer_async(text: str) -> list[int]:
    return await ask(text)


@app.get("/stream")
def answer_stream(text: str) -> StreamingResponse:
    return StreamingResponse(stream(text))


@app.get("/stream_async")
async def answer_stream_async(text: str) -> StreamingResponse:
    return StreamingResponse(stream_async(text))


@app.get("/background")
def answer_background(text: str, tasks: BackgroundTasks) -> str:
    tasks.add_task(later, text)
    return "later"


def trace_service(endpoint: str) -> None:
    """Trace the service itself."""
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    trace.set_tracer_provider(provider)
    FastAPIInstrumentor.instrument_app(app)


if "SERVICE_ENDPOINT" in os.environ:
    trace_service(os.environ["SERVICE_ENDPOINT"])
