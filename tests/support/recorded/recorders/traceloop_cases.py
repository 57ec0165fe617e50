"""Further calls of OpenAI's client under Traceloop's SDK (OpenLLMetry), in a session."""

import os

from traceloop.sdk import Traceloop

from tests.support.recorded.recorders._cases import call_openai


def main() -> None:
    """Make the calls."""
    Traceloop.init(
        app_name="recorded",
        api_endpoint=os.environ["RECORDED_ADDRESS"],
        api_key="none",
        disable_batch=True,
        telemetry_enabled=False,
    )
    Traceloop.set_association_properties({"session_id": "session-1"})
    call_openai()


if __name__ == "__main__":
    main()
