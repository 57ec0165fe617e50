"""Puts the collector together and runs it: one event loop for HTTP and gRPC."""

import asyncio
import contextlib
import logging
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn
import uvloop
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from otel_ml_collector.commit import Commit
from otel_ml_collector.config import Address, Settings
from otel_ml_collector.errors import BadSetting
from otel_ml_collector.guard import Guard
from otel_ml_collector.pipeline import Pipeline
from otel_ml_collector.query import api, documents
from otel_ml_collector.query.problems import add_error_handlers
from otel_ml_collector.receive import artifacts
from otel_ml_collector.receive.grpc import TraceService, make_server
from otel_ml_collector.receive.http import TraceEndpoint
from otel_ml_collector.store.artifacts import ArtifactWriter
from otel_ml_collector.store.columns import warm_up
from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.telemetry import MEDIA_TYPE, Telemetry
from otel_ml_collector.uploads import Uploads
from otel_ml_collector.web import pages

_DRAIN_S: Final = 10
_READ_THREADS: Final = 8
_BACKLOG: Final = 1024

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Collector:
    """The parts of a running collector, in the order in which they stop."""

    pipeline: Pipeline
    uploads: Uploads
    commit: Commit
    reader: Reader
    connections: Connections
    telemetry: Telemetry

    def close(self) -> None:
        """Store what was received, then close the store."""
        self.pipeline.close()
        self.uploads.close()
        self.commit.close(_DRAIN_S)
        self.connections.close()


def open_collector(store: str) -> Collector:
    """Open the store and start the threads that write to it.

    Raises:
        BadSetting: The store cannot be opened.
    """
    connections = Connections(store)
    telemetry = Telemetry()
    commit = Commit(Writer(connections).write, telemetry, prepare=warm_up)
    pipeline = Pipeline(commit, telemetry)
    uploads = Uploads(ArtifactWriter(connections), telemetry)
    return Collector(pipeline, uploads, commit, Reader(connections), connections, telemetry)


def _keep_temporary_files(folder: Path) -> None:
    """Let what inserts pass through be private, on the store's own disk, and gone after a kill."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    tempfile.tempdir = str(folder)


def make_app(collector: Collector, settings: Settings) -> FastAPI:
    """Make the HTTP application: OTLP, API, pages, health."""
    app = FastAPI(title="otel-ml", version="1", docs_url=None, redoc_url=None)
    app.state.reader = collector.reader
    endpoint = TraceEndpoint(collector.pipeline, collector.telemetry)
    app.add_route("/v1/traces", endpoint.answer, methods=["POST"])
    app.state.artifacts = artifacts.ArtifactEndpoint(
        collector.uploads, collector.telemetry, settings.artifact_limit_bytes
    )
    app.include_router(artifacts.router)
    app.include_router(api.router)
    app.include_router(documents.router)
    app.include_router(pages.router)
    app.mount("/static", pages.static_files())
    add_error_handlers(app)

    def healthz(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    def readyz(request: Request) -> Response:
        collector.reader.ping()
        return JSONResponse({"status": "ready"})

    def metrics(request: Request) -> Response:
        return Response(collector.telemetry.render(), media_type=MEDIA_TYPE)

    app.add_route("/healthz", healthz)
    app.add_route("/readyz", readyz)
    app.add_route("/metrics", metrics)
    is_open = not settings.http.is_loopback and not settings.allowed_hosts
    app.add_middleware(Guard, allowed_hosts=None if is_open else settings.allowed_hosts)
    return app


def serve(settings: Settings) -> int:
    """Run the collector until SIGTERM or SIGINT; returns the exit status.

    Raises:
        BadSetting: It cannot start as it was told.
    """
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    listener = _listen(settings.http)
    collector = open_collector(settings.store)
    if collector.connections.folder is not None:
        _keep_temporary_files(collector.connections.folder / "tmp")
    try:
        uvloop.run(_serve(settings, listener, collector))
    finally:
        collector.close()
    return 0


async def _serve(settings: Settings, listener: socket.socket, collector: Collector) -> None:
    current_default_thread_limiter().total_tokens = _READ_THREADS
    grpc_server, grpc_port = make_server(
        TraceService(collector.pipeline, collector.telemetry), str(settings.grpc)
    )
    await grpc_server.start()
    http_server = _HttpServer(
        uvicorn.Config(
            make_app(collector, settings),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_DRAIN_S,
        )
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, http_server.stop)
    http = Address(settings.http.host, listener.getsockname()[1])
    http_server.when_ready = lambda: _say_ready(http, Address(settings.grpc.host, grpc_port))
    sweeping = asyncio.create_task(collector.uploads.sweep_for_ever())
    await http_server.serve(sockets=[listener])
    sweeping.cancel()
    await grpc_server.stop(_DRAIN_S)


class _HttpServer(uvicorn.Server):
    """Leaves signals to us, so that a drained collector ends with status 0."""

    when_ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, then say so."""
        await super().startup(sockets)
        self.when_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Finish the requests under way, then end; at once when asked a second time."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        raise BadSetting(
            f"The HTTP address {address} cannot be listened at ({error.strerror}): most often "
            "another otel-ml, OpenTelemetry collector or Jaeger is there; choose another with "
            "--http HOST:PORT"
        ) from error
    listener.listen(_BACKLOG)
    return listener


def _say_ready(http: Address, grpc: Address) -> None:
    who = "every user of this machine" if http.is_loopback else f"everyone who reaches {http}"
    _logger.warning("There are no keys: %s can read and write", who)
    sys.stdout.write(f"otel-ml is ready: http://{http} (pages, API, OTLP), gRPC {grpc}\n")
    sys.stdout.flush()
