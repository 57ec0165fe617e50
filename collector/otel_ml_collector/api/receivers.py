"""Receivers of alerts, as the API returns them for alerts and for settings."""

from pydantic import Field

from otel_ml_collector.answer_body import AnswerBody


class ProjectReceiver(AnswerBody):
    """A receiver of alerts, without its address and secrets."""

    name: str
    kind: str = Field(description="alertmanager, slack or webhook")
    host: str = Field(
        description="Host in the receiver's address. The rest may be secret and is not returned"
    )
    rules: int = Field(description="Number of alert rules of the project that notify the receiver")
    sent_time: str | None = Field(
        description="When the receiver last accepted a message of the project, RFC 3339; null if "
        "it never did"
    )
    trouble: str = Field(
        description="Why the receiver did not accept the newest message; empty if it did"
    )
    waiting: int = Field(
        description="How many of the newest 20 messages the receiver has not accepted yet"
    )


class TestedReceiver(AnswerBody):
    """The result of a test notification."""

    receiver: str
    host: str
    notification: str = Field(description="ID of the test notification")
    trouble: str = Field(description="Why the receiver did not accept it; empty if it did")
