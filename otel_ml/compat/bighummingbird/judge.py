"""BigHummingbird's import path of `Judge`."""

from otel_ml.judge import Judge

__all__ = ["Judge"]
