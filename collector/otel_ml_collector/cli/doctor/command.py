"""The command: which checks there are, in which order, and how they are shown."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from otel_ml_collector.cli.doctor.finding import Finding, find_within
from otel_ml_collector.errors import BadSetting

if TYPE_CHECKING:
    from argparse import _SubParsersAction

PROJECT: Final = "otel-ml-doctor"
_PORTS: Final = {4318: 4317, 14318: 14317}


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "doctor",
        help="find out why runs do not arrive",
        description=(
            "Looks at what lies between here and a collector, sends one test span over HTTP and "
            "one over gRPC, and reads them back. Reads the same variables as the SDK. Ends with "
            "status 1 when something fails."
        ),
    )
    parser.add_argument("--endpoint", metavar="URL", help="base address [as the SDK chooses it]")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="gRPC address [port 4317 for 4318]")
    parser.add_argument("--project", metavar="P", default=PROJECT, help=f"project [{PROJECT}]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Look at everything; returns 1 when something failed.

    Raises:
        BadSetting: A flag is wrong.
    """
    if not flags.project or len(flags.project) > 128 or not flags.project.isprintable():  # noqa: PLR2004
        raise BadSetting(
            f"Invalid --project {flags.project!r}: expected 1 to 128 printable characters"
        )
    found: list[Finding] = []
    for finding in _find_all(flags):
        found.append(finding)
        if not flags.json:
            sys.stdout.write(f"{finding}\n")
            sys.stdout.flush()
    failed = any(finding.status == "fail" for finding in found)
    if flags.json:
        answer = {"ok": not failed, "checks": [asdict(finding) for finding in found]}
        sys.stdout.write(f"{json.dumps(answer, indent=2)}\n")
    return int(failed)


def _find_all(flags: argparse.Namespace) -> Iterator[Finding]:
    from otel_ml.export.settings import resolve  # with here and there, heavy
    from otel_ml_collector.cli.doctor import here
    from otel_ml_collector.cli.doctor.there import Visit

    key = os.environ.get("OTEL_ML_API_KEY")
    settings = resolve(flags.endpoint, flags.project, key, "http/protobuf")
    yield from find_within("versions", here.find_versions)
    yield from find_within("variables", lambda: here.find_variables(os.environ))
    if not settings.url:
        todo = "expected an address such as http://localhost:4318"
        yield Finding("fail", "endpoint", "The endpoint is no address", todo)
        return
    yield from find_within("proxy", lambda: here.find_proxy(settings.page))
    yield from find_within("disk", lambda: here.find_disk(settings.page, os.environ))
    yield from find_within("forward", lambda: here.find_targets(settings.page, os.environ))
    visit = Visit(settings, flags.project, flags.grpc or _grpc_address(settings.page))
    reached = find_within("endpoint", visit.find_endpoint)
    yield from reached
    if any(finding.status == "fail" for finding in reached):
        return
    yield from find_within("ready", visit.find_readiness)
    yield from find_within("clock", visit.find_clock)
    yield from find_within("key", visit.find_key)
    yield from find_within("http", visit.find_http)
    yield from find_within("grpc", visit.find_grpc)


def _grpc_address(page: str) -> str:
    """Guess where gRPC is: one port below the usual one of HTTP."""
    parts = urlsplit(page)
    port = _PORTS.get(parts.port or 0)
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{port}" if port else ""
