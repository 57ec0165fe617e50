"""What came of the spans that were sent, and what did not."""

from pydantic import BaseModel, Field


class LossCounts(BaseModel):
    """How many spans came of those that processes numbered.

    Only spans of our SDK are numbered, also updates, evaluations and heartbeats.
    """

    received: int = Field(description="Spans that are here, each counted once")
    missing: int = Field(
        description="Sent but not here (lost, or dropped by sampling on the way): numbers below "
        "one that has been here for a minute; a span that comes later is not missing any more"
    )
    late: int = Field(description="Of those received, came more than 5 minutes after they ended")
    dropped: int = Field(
        description="What the process told that it had dropped itself, which is missing too"
    )


class LossHour(LossCounts):
    """What came of one process, of spans that ended in one hour.

    What is missing counts in the hour in which the next span that is here ended.
    """

    hour: str = Field(description="When it began: RFC 3339, UTC")
    process: str


class Loss(BaseModel):
    """What came and what is missing, the latest hour first; `totals` are of the whole time."""

    start_time: str
    end_time: str
    hours: list[LossHour]
    left_out: int = Field(description="How many rows there are beyond those in `hours`")
    totals: LossCounts
