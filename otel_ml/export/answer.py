"""What a receiver said to one request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one request.

    Attributes:
        delivered: The receiver took it; what it `rejected` of it is gone for good.
        retry: Not taken, but sending it again may help.
        retry_after_s: How long the receiver wants to be left alone, when it said so.
        rejected: Spans that were refused though the request was taken.
        message: Why not, or why some not; never holds a secret.
        too_large: The receiver takes smaller requests only.
    """

    delivered: bool
    retry: bool = False
    retry_after_s: float | None = None
    rejected: int = 0
    message: str = ""
    too_large: bool = False
