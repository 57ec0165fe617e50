"""The HTTP face of the models: one POST each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from .caller import CALLER  # noqa: TID252 - see the package
from .classifiers import Diagnosis, Digit, classify, diagnose, digits, tumours  # noqa: TID252
from .docs_search import Answer, ask, docs  # noqa: TID252


class Caller(BaseModel):
    """What every request says of itself."""

    client: str
    split: str

    def announce(self) -> None:
        """Let the runs of this request know it."""
        CALLER.set({"client": self.client, "split": self.split})


class Question(Caller):
    """A question, the topics that are known to answer it, and whose conversation it is part of."""

    question: str
    expected: list[str]
    session: str


class Image(Caller):
    """An image of 8 by 8 pixels, row by row, and the digit that it shows."""

    pixels: list[float]
    expected: int


class Tumour(Caller):
    """The measurements of a tumour, and what it was."""

    measurements: dict[str, float]
    expected: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Deliver all runs before the end: on SIGTERM uvicorn ends without what runs at exit."""
    yield
    for client in (docs, digits, tumours):
        client.flush()


app = FastAPI(lifespan=lifespan)


@app.post("/ask")
def post_question(body: Question) -> Answer:
    """Answer a question; 422 when it cannot be read."""
    body.announce()
    try:
        return ask(body.question, body.expected, body.session)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error


@app.post("/classify")
def post_image(body: Image) -> Digit:
    """Read a digit."""
    body.announce()
    return classify(np.array(body.pixels).reshape(8, 8), body.expected)


@app.post("/diagnose")
def post_tumour(body: Tumour) -> Diagnosis:
    """Judge a tumour."""
    body.announce()
    return diagnose(body.measurements, body.expected)
