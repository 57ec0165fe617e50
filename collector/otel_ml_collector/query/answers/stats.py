"""Statistics of recorded runs over time."""

from pydantic import BaseModel, Field

from otel_ml.records import Tokens


class JudgeFigures(BaseModel):
    """What one judge, or person, said of some runs: the last of each counts."""

    judge: str
    evaluations: int
    failed: int = Field(description="Evaluations in which the judge itself failed")
    mean_score: float | None
    pass_rate: float | None = Field(description="Of the evaluations that say whether a run passed")


class Figures(BaseModel):
    """What some recorded runs were like; null where there is nothing to tell of."""

    runs: int = Field(description="Recorded runs; what a sampler left out is not counted")
    errors: int
    error_share: float | None
    p50_ms: float | None = Field(description="Latency; quantiles are within 1 % of the exact ones")
    p90_ms: float | None
    p99_ms: float | None
    tokens: Tokens
    cost: float | None = Field(description="Of the runs whose cost is known")
    judges: list[JudgeFigures]


class StatsBucket(Figures):
    """The runs of a stretch of time, those from `start_time` on."""

    start_time: str
    start_ns: int


class StatsGroup(BaseModel):
    """The runs that have one value in common."""

    group: str
    total: Figures
    buckets: list[StatsBucket] = Field(description="Those that have runs, oldest first")


class Stats(BaseModel):
    """Statistics by group and bucket."""

    start_time: str
    end_time: str
    bucket_s: int
    group: str = Field(description="By what runs are grouped; empty for no groups")
    total: Figures
    groups: list[StatsGroup] = Field(description="Those with most runs, the largest first")
    groups_found: int = Field(description="How many there are; the smaller ones are in `other`")
    other: StatsGroup | None


class ProjectBucket(BaseModel):
    """The recorded runs of an hour."""

    start_time: str
    start_ns: int
    runs: int
    errors: int
    p50_ms: float
    p90_ms: float
    p99_ms: float


class ProjectStats(BaseModel):
    """The recorded runs of a project."""

    project: str
    runs: int
    errors: int
    buckets: list[ProjectBucket] = Field(description="Those that have runs, oldest first")


class AllStats(BaseModel):
    """The recorded runs of all projects that may be read, the one with most runs first."""

    start_time: str
    end_time: str
    bucket_s: int
    groups: list[ProjectStats]
