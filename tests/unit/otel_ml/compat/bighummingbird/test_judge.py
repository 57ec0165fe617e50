"""The class `Judge` at BigHummingbird's import path."""

import otel_ml
from otel_ml.compat.bighummingbird.judge import Judge


def test_judge_is_ours() -> None:
    """BigHummingbird's import path provides the public `otel_ml.Judge`."""
    assert Judge is otel_ml.Judge
