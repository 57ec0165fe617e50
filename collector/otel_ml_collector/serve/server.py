"""Runs the collector until a signal: a single event loop for HTTP and gRPC."""

import asyncio
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn
import uvloop
from anyio.to_thread import current_default_thread_limiter
from grpc import ServerCredentials, ssl_server_credentials
from starlette.types import ASGIApp

from otel_ml_collector.errors import BadSetting, StoreUnreachable, Unavailable
from otel_ml_collector.keyring import Keyring
from otel_ml_collector.receive.otlp import make_server
from otel_ml_collector.receive.refusals import REFUSALS
from otel_ml_collector.serve.app import Collector, make_app, open_collector
from otel_ml_collector.serve.http_server import (
    KEEP_ALIVE_S,
    HttpServer,
    Limits,
    fit_limits,
    grpc_options,
    make_protocol,
)
from otel_ml_collector.serve.jobs import make_lanes, running
from otel_ml_collector.serve.launched import LaunchFile
from otel_ml_collector.serve.service_manager import notify_ready
from otel_ml_collector.serve.waiting import make_waiting_app, report_wait, wait_for_store
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.settings.values import Address, address_here
from otel_ml_collector.traces.live import Listening

# Seconds that the gRPC server waits for open calls at the end. Complete uploads have been answered
# by then.
_CALLS_S: Final = 1
# Number of threads for background jobs; each runs one lane at a time.
_JOBS_AT_ONCE: Final = 6
# Seconds from the signal to the forced end. Many service managers kill after 10 s.
_END_S: Final = 9.5
_READ_THREADS: Final = 8
_BACKLOG: Final = 1024
# New objects between two garbage collections: as many as about 30 requests create.
_GC_OBJECTS: Final = 100_000
# Seconds that the event loop waits for a busy thread to yield the GIL. Python's default is 5 ms.
_SWITCH_S: Final = 0.001

_logger = logging.getLogger(__name__)


def serve(settings: Settings, launch_file: LaunchFile | None = None) -> int:
    """Run the collector until SIGTERM or SIGINT; returns the exit status.

    Args:
        settings: The settings.
        launch_file: If given, the collector also stops when no other process uses it.

    Raises:
        StoreUnreachable: The store did not answer in time.
        BadSetting: The collector cannot start with these settings.
    """
    # Keep running when the terminal or the service manager that started the collector closes.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    limits = fit_limits(Limits(settings.max_connections, settings.request_timeout_s))
    listener = _listen(settings.http)
    try:
        collector: Collector | None = open_collector(settings)
    except StoreUnreachable as error:
        if not settings.store_wait_s:
            raise
        report_wait(error, settings.store_wait_s)
        collector = uvloop.run(_wait_for_store(settings, listener, limits))
    if collector is None:  # a signal ended the process while it waited
        return 0
    if collector.connections.folder is not None:
        _keep_temporary_files(collector.connections.folder / "tmp")
    jobs = ThreadPoolExecutor(_JOBS_AT_ONCE, "job")
    try:
        _refuse_open_address(settings, collector.keyring)
        uvloop.run(_serve(settings, listener, collector, limits, jobs, launch_file=launch_file))
    finally:
        collector.close(jobs)
        REFUSALS.close()
    _logger.info("Stopped. Everything that was acknowledged is stored")
    return 0


def _keep_temporary_files(folder: Path) -> None:
    """Keep temporary files of inserts private, on the store's disk, and remove leftover ones."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    tempfile.tempdir = str(folder)


def _end_in_time() -> None:
    """End this process before a service manager kills it, even if work is left.

    By then all requests are answered. If a long statement of the store is interrupted, such as a
    purge, it resumes at the next start.
    """

    def end() -> None:
        _logger.warning("Background work is interrupted. It resumes at the next start")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)

    timer = threading.Timer(_END_S, end)
    timer.daemon = True
    timer.start()


async def _wait_for_store(
    settings: Settings, listener: socket.socket, limits: Limits
) -> Collector | None:
    server = HttpServer(_http_config(make_waiting_app(), settings, limits))
    _stop_on_signals(server)
    return await wait_for_store(
        partial(open_collector, settings), server, listener, settings.store_wait_s
    )


async def _serve(
    settings: Settings,
    listener: socket.socket,
    collector: Collector,
    limits: Limits,
    jobs: Executor,
    *,
    launch_file: LaunchFile | None,
) -> None:
    current_default_thread_limiter().total_tokens = _READ_THREADS
    grpc_server, grpc_port = make_server(
        collector.pipeline,
        collector.telemetry,
        str(settings.grpc),
        collector.keyring.find,
        _grpc_credentials(settings),
        limits=grpc_options(limits),
    )
    await grpc_server.start()
    app = make_app(collector, settings)
    http = Address(settings.http.host, listener.getsockname()[1])
    grpc_address = Address(settings.grpc.host, grpc_port)
    scheme = "https" if settings.tls_cert else "http"
    here = f"{scheme}://{address_here(http)}"
    collector.connections.note_address(here)

    def report_ready() -> None:
        _print_ready(settings, scheme, http, grpc_address, collector)
        if launch_file is not None:
            launch_file.announce(here)
            launch_file.stop_when_unused()

    def send_away() -> None:
        _logger.info("Stopping: requests in progress are finished, new ones are refused")
        _end_in_time()
        collector.send_away()
        app.state.services.find(Listening).end()

    http_server = HttpServer(
        _http_config(app, settings, limits),
        when_ready=report_ready,
        send_away=send_away,
        until_idle=collector.pipeline.until_idle,
    )
    _stop_on_signals(http_server)
    _tune_interpreter()
    with running(make_lanes(collector), jobs):
        await http_server.serve(sockets=[listener])
    await grpc_server.stop(_CALLS_S)


def _grpc_credentials(settings: Settings) -> ServerCredentials | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return ssl_server_credentials([(settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())])


def _http_config(app: ASGIApp, settings: Settings, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `Proxies` reads these headers
        timeout_keep_alive=KEEP_ALIVE_S,
        http=make_protocol(limits),
        ws="none",
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


def _stop_on_signals(server: HttpServer) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        raise BadSetting(
            f"The HTTP address {address} cannot be used ({error.strerror}): probably "
            "another otel-ml, OpenTelemetry collector or Jaeger listens there; choose a different "
            "one with --http HOST:PORT"
        ) from error
    listener.listen(_BACKLOG)
    return listener


def _refuse_open_address(settings: Settings, keyring: Keyring) -> None:
    """Refuse to listen beyond loopback without keys, unless a setting allows it."""
    for address in (settings.http, settings.grpc):
        if not (address.is_loopback or keyring.is_on or settings.insecure):
            raise BadSetting(
                f"Listening at {address} without keys would let anyone who can connect read and "
                "write: create a key with 'otel-ml keys add', listen on 127.0.0.1, or use "
                "--insecure"
            )


def _tune_interpreter() -> None:
    """Collect garbage rarely, because spans and records have no cycles; switch threads often."""
    gc.freeze()  # no collection first: it would take 0.13 s and free less than 1 MB
    gc.set_threshold(_GC_OBJECTS)
    gc.enable()
    sys.setswitchinterval(_SWITCH_S)


def _print_ready(
    settings: Settings, scheme: str, http: Address, grpc: Address, collector: Collector
) -> None:
    who = "every user on this machine" if http.is_loopback else f"everyone who reaches {http}"
    if not collector.keyring.is_on:
        _logger.warning("There are no keys: %s can read and write", who)
    if settings.data_dir is None and not settings.session_secret:
        _logger.warning(
            "session_secret is not set: users of the web pages must sign in again when this "
            "collector restarts, and at every other collector of this ClickHouse server"
        )
    try:
        collector.health.check_room()
    except Unavailable as error:
        _logger.warning(
            "No data is accepted: %s. Free some disk space, or lower min_free_disk_bytes. Until "
            "then senders get 503 and should retry",
            error,
        )
    sys.stdout.write(f"otel-ml is ready: {scheme}://{http} (pages, API, OTLP), gRPC {grpc}\n")
    sys.stdout.flush()
    notify_ready()
