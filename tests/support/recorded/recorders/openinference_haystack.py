"""Haystack under OpenInference's instrumentation: the scenarios of its own tracing."""

from openinference.instrumentation.haystack import HaystackInstrumentor

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders.haystack import record


def main() -> None:
    """Record what the instrumentation sees."""
    provider = make_provider()
    HaystackInstrumentor().instrument(tracer_provider=provider)
    record(provider)


if __name__ == "__main__":
    main()
