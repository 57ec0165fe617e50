"""Calls of Google's client under OpenTelemetry's instrumentation, content on spans."""

import os

from google import genai
from google.genai import types
from opentelemetry.instrumentation.google_genai import GoogleGenAiSdkInstrumentor

from tests.support.recorded.recorders._exporting import make_content_provider
from tests.support.recorded.recorders._openai import ASKED

_MODEL = "gemini-2.5-flash"


def main() -> None:
    """Make a plain call and a streamed one."""
    provider = make_content_provider()
    GoogleGenAiSdkInstrumentor().instrument(tracer_provider=provider)
    options = types.HttpOptions(base_url=os.environ["RECORDED_ADDRESS"])
    client = genai.Client(api_key="none", http_options=options)
    client.models.generate_content(model=_MODEL, contents=ASKED)
    for _ in client.models.generate_content_stream(model=_MODEL, contents=ASKED):
        pass
    provider.shutdown()


if __name__ == "__main__":
    main()
