"""A decorator of ours around the functions of a provider's client, in a session."""

from collections.abc import Callable
from typing import Any

from otel_ml import Client, current_run


def make_wrap(client: Client, name: str) -> Callable[[Any], Any]:
    """Make what puts a decorator around a function that calls a provider."""

    def wrap(create: Any) -> Any:
        @client.trace(kind="chat", name=name)
        def ask(messages: Any, model: str, **more: Any) -> Any:
            current_run().identify(session="session-1")
            return create(messages=messages, model=model, **more)

        @client.trace(kind="chat", name=name)
        async def ask_async(messages: Any, model: str, **more: Any) -> Any:
            current_run().identify(session="session-1")
            return await create(messages=messages, model=model, **more)

        return ask_async if type(create.__self__).__name__.startswith("Async") else ask

    return wrap
