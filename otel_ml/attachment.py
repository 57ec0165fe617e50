"""Makes an OpenTelemetry context the current one and the one before it current again.

OpenTelemetry's own functions do this through four calls. Where its context lives in a variable of
`contextvars`, as it does unless somebody replaced it, the variable is set directly: a stream pays
for it at each chunk.
"""

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext


def _make() -> tuple[Callable[[Context], Token[Context]], Callable[[Token[Context]], None]]:
    runtime: Any = getattr(context_api, "_RUNTIME_CONTEXT", None)
    variable: Any = getattr(runtime, "_current_context", None)
    if type(runtime) is not ContextVarsRuntimeContext or not isinstance(variable, ContextVar):
        return context_api.attach, context_api.detach
    reset = variable.reset

    def detach(token: Token[Context]) -> None:
        try:
            reset(token)
        except (ValueError, RuntimeError):  # the host went on in another context: it is gone there
            return

    return variable.set, detach


attach, detach = _make()
