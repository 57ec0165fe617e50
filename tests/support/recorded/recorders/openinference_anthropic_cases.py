"""Further calls of Anthropic's client under OpenInference's instrumentation, in a session."""

from openinference.instrumentation import using_session
from openinference.instrumentation.anthropic import AnthropicInstrumentor

from tests.support.recorded.recorders._cases import call_anthropic
from tests.support.recorded.recorders._exporting import make_provider


def main() -> None:
    """Make the calls."""
    provider = make_provider()
    AnthropicInstrumentor().instrument(tracer_provider=provider)
    with using_session("session-1"):
        call_anthropic()
    provider.shutdown()


if __name__ == "__main__":
    main()
