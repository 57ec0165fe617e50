"""Receivers of alerts, as the API returns them for alerts and for settings."""

from pydantic import BaseModel, Field


class ProjectReceiver(BaseModel):
    """A receiver of alerts, without its address and secrets."""

    name: str
    kind: str = Field(description="alertmanager, slack or webhook")
    host: str = Field(description="Host of its address; the rest may be secret")
    rules: int = Field(description="How many alert rules of the project notify it")
    sent_time: str | None = Field(
        description="When it last accepted a message of the project, RFC 3339; null before"
    )
    trouble: str = Field(description="Why it did not accept the newest message; empty if it did")
    waiting: int = Field(description="How many of its newest 20 messages are not accepted yet")


class TestedReceiver(BaseModel):
    """The result of a test notification."""

    receiver: str
    host: str
    notification: str = Field(description="ID of the test notification")
    trouble: str = Field(description="Why the receiver did not accept it; empty if it did")
