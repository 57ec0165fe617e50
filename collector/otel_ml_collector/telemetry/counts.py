"""Plain numbers of the runs of one label set, and of what a judge said of them."""

from dataclasses import dataclass, field
from typing import Final

# Those of gen_ai.client.operation.duration, and three below for models that answer sooner.
# Spec: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
BOUNDS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)


@dataclass(slots=True)
class RunCounts:
    """What is known of some runs.

    Attributes:
        is_other: Whether it takes what is beyond the bound of label sets.
        buckets: One an upper bound, and one for what is above all of them.
    """

    is_other: bool = False
    runs: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    latency_ns: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))

    def add(self, other: "RunCounts") -> None:
        """Add those of other runs."""
        self.runs += other.runs
        self.errors += other.errors
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.latency_ns += other.latency_ns
        self.buckets = [one + more for one, more in zip(self.buckets, other.buckets, strict=True)]


@dataclass(slots=True)
class ScoreCounts:
    """What one judge said of some runs."""

    scores: int = 0
    total: float = 0.0
    passed: int = 0
    failed: int = 0
    errors: int = 0

    def add(self, other: "ScoreCounts") -> None:
        """Add what it said of other runs."""
        self.scores += other.scores
        self.total += other.total
        self.passed += other.passed
        self.failed += other.failed
        self.errors += other.errors
