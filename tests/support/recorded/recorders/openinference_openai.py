"""Calls of OpenAI's client under OpenInference's instrumentation."""

import openai
from openinference.instrumentation import (
    using_attributes,
)
from openinference.instrumentation.openai import (
    OpenAIInstrumentor,
)

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import call_all, chat


def main() -> None:
    """Make the calls, one of them with everything that an application can tell about it."""
    provider = make_provider()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    client = openai.OpenAI()
    call_all(client)
    with using_attributes(
        session_id="session-1",
        user_id="user-1",
        metadata={"tier": "gold"},
        tags=["weather", "demo"],
        prompt_template="How is the weather in {city}?",
        prompt_template_version="v2",
        prompt_template_variables={"city": "Ghent"},
    ):
        chat(client)
    provider.shutdown()


if __name__ == "__main__":
    main()
