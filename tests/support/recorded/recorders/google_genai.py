"""Calls of Google's client under OpenTelemetry's instrumentation, content on spans."""

import os

from google import genai
from google.genai import types
from opentelemetry.instrumentation.google_genai import GoogleGenAiSdkInstrumentor

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import ASKED

_MODEL = "gemini-2.5-flash"


def main() -> None:
    """Make a plain call and a streamed one."""
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "span_only"
    provider = make_provider()
    GoogleGenAiSdkInstrumentor().instrument(tracer_provider=provider)
    options = types.HttpOptions(base_url=os.environ["RECORDED_ADDRESS"])
    client = genai.Client(api_key="none", http_options=options)
    client.models.generate_content(model=_MODEL, contents=ASKED)
    for _ in client.models.generate_content_stream(model=_MODEL, contents=ASKED):
        pass
    provider.shutdown()


if __name__ == "__main__":
    main()
