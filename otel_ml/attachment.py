"""Makes an OpenTelemetry context the current one and the one before it current again.

OpenTelemetry's own functions do this through four calls. Where its context lives in a variable of
`contextvars`, as it does unless somebody replaced it, the variable is set directly: a stream pays
for it at each chunk.
"""

import contextvars
import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Final

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

from otel_ml.errors import hand_on

# What `reset` raises where the host went on in another context: the token is gone there.
ELSEWHERE: Final = (ValueError, RuntimeError)


def _make() -> tuple[Callable[[Context], Token[Context]], Callable[[Token[Context]], None]]:
    runtime: Any = getattr(context_api, "_RUNTIME_CONTEXT", None)
    variable: Any = getattr(runtime, "_current_context", None)
    if type(runtime) is not ContextVarsRuntimeContext or not isinstance(variable, ContextVar):
        return context_api.attach, context_api.detach
    return variable.set, variable.reset


attach, reset = _make()


def detach(token: Token[Context]) -> None:
    """Do what `reset` does; quietly also where the token is gone."""
    try:
        reset(token)
    except ELSEWHERE as error:
        hand_on(error)


def start_apart(thread: threading.Thread) -> None:
    """Start a thread of ours outside every run, also where threads follow who starts them."""
    contextvars.Context().run(thread.start)
