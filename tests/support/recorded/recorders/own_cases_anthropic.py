"""Further calls of Anthropic's client under a decorator of ours, in a session."""

from otel_ml import Client
from tests.support.recorded.recorders._cases import call_anthropic
from tests.support.recorded.recorders._own import make_wrap


def main() -> None:
    """Make the calls."""
    client = Client("recorded")
    call_anthropic(make_wrap(client, "anthropic"))
    client.close()


if __name__ == "__main__":
    main()
