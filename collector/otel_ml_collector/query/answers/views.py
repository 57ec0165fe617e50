"""Saved views: what someone looks at often, by a name of theirs."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST: Final = 200
_Name = Annotated[str, Field(min_length=1, max_length=64)]
_Text = Annotated[str, Field(max_length=4_000)]


class WantedView(BaseModel):
    """A page of the web interface with its parameters."""

    model_config = ConfigDict(extra="forbid")

    page: Literal["runs", "models", "metrics", "stats", "traces"] = "runs"
    parameters: Annotated[dict[_Name, _Text], Field(max_length=40)] = Field(
        default={}, description="As they stand in the page's address, such as `where`"
    )


class View(WantedView):
    """A saved view."""

    name: str
    saved_time: str = Field(description="RFC 3339, UTC")


class Views(BaseModel):
    """The saved views of a project, by name."""

    views: list[View]
