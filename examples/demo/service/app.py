"""The HTTP API of the service, with one POST route for each model."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from .caller import CALLER  # noqa: TID252 - see the package
from .classifiers import Diagnosis, Digit, classify, diagnose, digits, tumours  # noqa: TID252
from .docs_search import Answer, ask, docs  # noqa: TID252


class Caller(BaseModel):
    """The fields that every request has: the client and the data split."""

    client: str
    split: str

    def announce(self) -> None:
        """Make these fields available as tags to the runs of this request."""
        CALLER.set({"client": self.client, "split": self.split})


class Question(Caller):
    """A question, the topics that are expected to answer it, and the session it belongs to."""

    question: str
    expected: list[str]
    session: str


class Image(Caller):
    """An 8×8 image as rows of pixels, and the digit that it shows."""

    pixels: list[float]
    expected: int


class Tumour(Caller):
    """The measurements of a tumour and its actual diagnosis."""

    measurements: dict[str, float]
    expected: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Flush all runs at shutdown: on SIGTERM, uvicorn exits without running atexit functions."""
    yield
    for client in (docs, digits, tumours):
        client.flush()


app = FastAPI(lifespan=lifespan)


@app.post("/ask")
def post_question(body: Question) -> Answer:
    """Answer a question. Returns 422 if it has no search terms."""
    body.announce()
    try:
        return ask(body.question, body.expected, body.session)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error


@app.post("/classify")
def post_image(body: Image) -> Digit:
    """Classify a digit."""
    body.announce()
    return classify(np.array(body.pixels).reshape(8, 8), body.expected)


@app.post("/diagnose")
def post_tumour(body: Tumour) -> Diagnosis:
    """Diagnose a tumour."""
    body.announce()
    return diagnose(body.measurements, body.expected)
