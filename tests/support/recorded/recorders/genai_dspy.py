"""DSPy under OpenTelemetry's instrumentation: a chain of thought about a question."""

import dspy
from opentelemetry.instrumentation.genai.dspy import DSPyInstrumentor

from tests.support.recorded.recorders._exporting import make_content_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL


def main() -> None:
    """Ask once, with a thought before the answer."""
    provider = make_content_provider()
    DSPyInstrumentor().instrument(tracer_provider=provider)
    dspy.configure(lm=dspy.LM(f"openai/{MODEL}", cache=False))
    dspy.ChainOfThought("question -> answer")(question=ASKED)
    provider.shutdown()


if __name__ == "__main__":
    main()
