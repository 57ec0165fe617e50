"""Further calls of OpenAI's client under a decorator of ours, in a session."""

from otel_ml import Client
from tests.support.recorded.recorders._cases import call_openai
from tests.support.recorded.recorders._own import make_wrap


def main() -> None:
    """Make the calls."""
    client = Client("recorded")
    call_openai(make_wrap(client, "openai"))
    client.close()


if __name__ == "__main__":
    main()
