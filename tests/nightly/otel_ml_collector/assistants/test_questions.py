"""Slow cases of tests/store/otel_ml_collector/assistants/test_questions.py."""

import sys
from typing import Final

from tests.store.otel_ml_collector.assistants.test_questions import (
    QUESTIONS,
    follow,
)
from tests.support.otel_ml_collector.assistants.fixtures import Ask

# Total characters of the answers to all questions.
MEASURED: Final = 49_068


def test_size(ask_tool: Ask) -> None:
    """The answers do not grow by more than 5 % beyond the measured size."""
    size = sum(follow(path, ask_tool)[1] for path, _ in QUESTIONS.values())
    sys.stdout.write(f"forty questions: {size:,} characters\n")
    assert size <= MEASURED * 1.05
