"""Calls of Anthropic's client under OpenTelemetry's instrumentation."""

import anthropic
from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor

from tests.support.recorded.recorders._cases import call_each_kind
from tests.support.recorded.recorders._exporting import make_content_provider


def main() -> None:
    """Make a plain call, a streamed one, one with a tool and one that fails."""
    provider = make_content_provider()
    AnthropicInstrumentor().instrument(tracer_provider=provider)
    call_each_kind(anthropic.Anthropic())
    provider.shutdown()


if __name__ == "__main__":
    main()
