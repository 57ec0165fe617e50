"""Routes that are analysed at their first request."""

from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import compile_path, get_name


class DeferredRoute(APIRoute):
    """A route whose parameters and response are analysed when it is first used.

    FastAPI usually analyses a route when it is declared. This takes about 1 ms per route, for about
    230 routes, and most processes use only some of them. Before its first use, this route only
    knows its path, name, methods and function.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._options: dict[str, Any] | None = options
        self.path, self.endpoint = path, endpoint
        self.name = options.get("name") or get_name(endpoint)
        self.methods = {method.upper() for method in options.get("methods") or ("GET",)}
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)

    def __getattr__(self, name: str) -> Any:
        """Analyse the route, because more than its address is needed."""
        options = vars(self).get("_options")
        if options is None:
            raise AttributeError(f"A route has no attribute {name!r}")
        super().__init__(self.path, self.endpoint, **options)
        self._options = None
        return getattr(self, name)
