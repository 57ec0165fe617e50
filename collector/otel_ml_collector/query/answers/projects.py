"""Projects and what they hold."""

from pydantic import BaseModel, Field


class Project(BaseModel):
    """A project and its recorded runs; other spans, such as HTTP requests, are counted apart."""

    project: str
    runs: int
    other_spans: int
    errors: int
    artifacts: int = Field(description="Different documents that are stored")
    artifact_bytes: int
    last_start_time: str


class Projects(BaseModel):
    """Projects, the one that ran last first."""

    projects: list[Project]
    next_cursor: str | None = Field(description="Where the list goes on; null at its end")
