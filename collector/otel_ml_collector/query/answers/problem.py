"""The body of every error."""

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """What is wrong with a request."""

    code: str
    message: str
    field: str | None
    column: int | None = Field(default=None, description="Where in the field's text, from 0")


class ErrorAnswer(BaseModel):
    """The body of every error."""

    error: Problem
