"""Messages for Slack, checked against the block models that Slack publishes.

Spec: https://docs.slack.dev/reference/block-kit/blocks, as the models of `slack_sdk` check it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

from otel_ml_collector.alerts.messages import make_slack_message
from otel_ml_collector.alerts.notification import MOST_ALERTED_SLICES, Notification
from otel_ml_collector.alerts.trial import make_trial
from tests.support.otel_ml_collector.alerts.world import FALLS, NOW_NS, PUBLIC_URL
from tests.unit.otel_ml_collector.alerts.test_messages import NASTY, make_nasty


def read_blocks(blocks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Parse blocks with Slack's own models, which drop unknown keys.

    Raises:
        SlackObjectFormationError: A block is not valid in Slack, or exceeds its limits.
    """
    read = Block.parse_all([dict(block) for block in blocks])
    return [block.to_dict() for block in read]


def check(notification: Notification) -> None:
    """Check that Slack's models parse the blocks of a message without dropping a key."""
    message = make_slack_message(notification, PUBLIC_URL)
    assert read_blocks(message["blocks"]) == message["blocks"]


@pytest.mark.parametrize(
    "notification",
    [
        FALLS,
        replace(FALLS, status="resolved"),
        replace(FALLS, slices=()),
        replace(FALLS, slices=FALLS.slices * MOST_ALERTED_SLICES, more_slices=90),
        make_trial("oncall", NOW_NS),
    ],
    ids=["firing", "resolved", "whole rule", "many slices", "trial"],
)
def test_message(notification: Notification) -> None:
    """Every message consists of valid Slack blocks without unknown keys."""
    check(notification)


@pytest.mark.parametrize("text", NASTY, ids=lambda text: repr(text[:20]))
def test_nasty_text(text: str) -> None:
    """Slack's models accept the message for any text in a rule or a slice."""
    check(make_nasty(text))


@given(st.text(max_size=4_000), st.integers(0, MOST_ALERTED_SLICES))
def test_any_text(text: str, slices: int) -> None:
    """Slack's models accept the message for texts of any length."""
    check(replace(make_nasty(text), slices=make_nasty(text).slices[:slices]))


def lengthen(blocks: list[dict[str, Any]]) -> None:
    blocks[0]["text"]["text"] = "x" * 151


def crowd(blocks: list[dict[str, Any]]) -> None:
    context = next(block for block in blocks if block["type"] == "context")
    context["elements"] = context["elements"][:1] * 11


def empty(blocks: list[dict[str, Any]]) -> None:
    del blocks[1]["text"]


@pytest.mark.parametrize("spoil", [lengthen, crowd, empty])
def test_models_refuse(spoil: Callable[[list[dict[str, Any]]], None]) -> None:
    """Slack's models reject a block that exceeds its limits or lacks its text."""
    blocks = make_slack_message(FALLS, PUBLIC_URL)["blocks"]
    spoil(blocks)
    with pytest.raises(SlackObjectFormationError):
        read_blocks(blocks)


def test_models_drop() -> None:
    """Slack's models drop an unknown key, so `check` would notice one."""
    blocks = make_slack_message(FALLS, PUBLIC_URL)["blocks"]
    assert read_blocks([{**blocks[0], "colour": "red"}]) != [{**blocks[0], "colour": "red"}]
