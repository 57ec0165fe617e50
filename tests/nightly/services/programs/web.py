"""A small web service for servers with several processes: `app` (ASGI), `application` (WSGI).

``CLOSING`` selects how pending spans are delivered at the end: ``nothing``, ``sigterm`` for
``flush_on_sigterm``, or ``lifespan``. With ``WARM``, importing the module makes a call.
"""

import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

import otel_ml
from otel_ml import Client

CLOSING = os.environ.get("CLOSING", "nothing")
client = Client(flush_on_sigterm=CLOSING == "sigterm", spool=os.environ.get("SPOOL"))


@client.trace(name="predict")
def predict(number: int) -> int:
    otel_ml.current_run().tag(pid=os.getpid())
    return number * 2


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield
    if CLOSING == "lifespan":
        client.flush()


app = FastAPI(lifespan=lifespan)


@app.get("/{number}")
def answer(number: int) -> int:
    """Call the model; returns the id of the process."""
    predict(number)
    return os.getpid()


def application(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
    """Answer the same."""
    start("200 OK", [("content-type", "application/json")])
    return [json.dumps(answer(int(environ["PATH_INFO"][1:]))).encode()]


if "WARM" in os.environ:
    predict(1_000_000)
sys.stderr.write("The model is loaded\n")
