"""Calls of OpenAI's client under OpenTelemetry's instrumentation `genai-openai`."""

import openai
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

from tests.support.recorded.recorders._exporting import make_content_provider
from tests.support.recorded.recorders._openai import call_all


def main() -> None:
    """Make one call of each kind."""
    provider = make_content_provider()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    call_all(openai.OpenAI())
    provider.shutdown()


if __name__ == "__main__":
    main()
