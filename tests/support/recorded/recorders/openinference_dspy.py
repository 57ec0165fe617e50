"""DSPy under OpenInference's instrumentation: a chain of thought about a question."""

import dspy
from openinference.instrumentation.dspy import DSPyInstrumentor

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL


def main() -> None:
    """Ask once, with a thought before the answer."""
    provider = make_provider()
    DSPyInstrumentor().instrument(tracer_provider=provider)
    dspy.configure(lm=dspy.LM(f"openai/{MODEL}", cache=False))
    dspy.ChainOfThought("question -> answer")(question=ASKED)
    provider.shutdown()


if __name__ == "__main__":
    main()
