"""``/healthz``, alive, and ``/readyz``, able to store: for whoever starts and stops collectors."""

from typing import Final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from otel_ml_collector.clock import ClockWatch
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.receive.readiness import Health

# One may wait for the store; the other tells meanwhile what is known. Threads of their own:
# those of the API may all wait for answers.
_THREADS: Final = 2


def make_health_routes(health: Health, clocks: ClockWatch) -> list[Route]:
    """Make both routes; the first asks nothing and nobody."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "alive", "program": "otel-ml"})

    async def readyz(request: Request) -> Response:
        await run_sync(health.check_ready, limiter=limiter)
        if not (trouble := clocks.trouble):
            return JSONResponse({"status": "ready"})
        if clocks.is_sure:
            raise Unavailable(trouble)
        # One sender that is wrong itself must not keep all others from being sent here.
        return JSONResponse({"status": "ready", "warning": trouble})

    limiter = CapacityLimiter(_THREADS)
    return [Route("/healthz", healthz), Route("/readyz", readyz)]
