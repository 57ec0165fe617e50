"""Further calls of OpenAI's client under OpenTelemetry's instrumentation, content on spans."""

import os

from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

from tests.support.recorded.recorders._cases import call_openai
from tests.support.recorded.recorders._exporting import make_provider


def main() -> None:
    """Make the calls."""
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "span_only"
    provider = make_provider()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    call_openai()
    provider.shutdown()


if __name__ == "__main__":
    main()
