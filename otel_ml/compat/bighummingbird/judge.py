"""BigHummingbird's import path for `Judge`."""

from otel_ml.judges.judge import Judge

__all__ = ["Judge"]
