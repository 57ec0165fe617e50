"""What may be typed next in a filter."""

from typing import Literal

from pydantic import BaseModel, Field


class CompletionItem(BaseModel):
    """One way to go on."""

    text: str = Field(description="What to show")
    kind: Literal["field", "key", "operator", "value"]
    count: int | None = Field(description="In how many of the newest runs, when that is counted")
    insert: str = Field(description="What stands in the filter from `start` to `end` then")
    about: str = Field(default="", description="What a field is")


class Completion(BaseModel):
    """What may be typed at the end of a text, the likeliest first."""

    start: int = Field(description="The first character that an item replaces, counted from 0")
    end: int = Field(description="The end of the text")
    items: list[CompletionItem]
