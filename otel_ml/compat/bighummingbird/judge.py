"""BigHummingbird's import path of `Judge`."""

from otel_ml.judges.judge import Judge

__all__ = ["Judge"]
