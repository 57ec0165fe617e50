"""Further calls of OpenAI's client under OpenInference's instrumentation, in a session."""

from openinference.instrumentation import using_session
from openinference.instrumentation.openai import OpenAIInstrumentor

from tests.support.recorded.recorders._cases import call_openai
from tests.support.recorded.recorders._exporting import make_provider


def main() -> None:
    """Make the calls."""
    provider = make_provider()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    with using_session("session-1"):
        call_openai()
    provider.shutdown()


if __name__ == "__main__":
    main()
