"""The command: which checks there are, in which order, and how they are shown."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final
from urllib.parse import urlsplit

import click

from otel_ml_collector.cli.doctor.finding import Finding, find_within
from otel_ml_collector.errors import BadSetting

PROJECT: Final = "otel-ml-doctor"
_PROJECT_CHARS: Final = 128
_PORTS: Final = {4318: 4317, 14318: 14317}


@click.command(short_help="find out why runs do not arrive")
@click.option("--endpoint", metavar="URL", help="base address [as the SDK chooses it]")
@click.option("--grpc", metavar="HOST:PORT", help="gRPC address [port 4317 for 4318]")
@click.option("--project", metavar="P", default=PROJECT, help=f"project [{PROJECT}]")
@click.option("--json", "is_json", is_flag=True, help="print one JSON object")
def doctor(endpoint: str | None, grpc: str | None, project: str, *, is_json: bool) -> int:
    """Look at what lies between here and a collector.

    Sends one test span over HTTP and one over gRPC, and reads them back. Reads the same variables
    as the SDK. Ends with status 1 when something fails.
    """
    if not 0 < len(project) <= _PROJECT_CHARS or not project.isprintable():
        raise BadSetting(f"Invalid --project {project!r}: expected 1 to 128 printable characters")
    found: list[Finding] = []
    for finding in _find_all(endpoint, grpc, project):
        found.append(finding)
        if not is_json:
            sys.stdout.write(f"{finding}\n")
            sys.stdout.flush()
    failed = any(finding.status == "fail" for finding in found)
    if is_json:
        answer = {"ok": not failed, "checks": [asdict(finding) for finding in found]}
        sys.stdout.write(f"{json.dumps(answer, indent=2)}\n")
    return int(failed)


def _find_all(endpoint: str | None, grpc: str | None, project: str) -> Iterator[Finding]:
    from otel_ml.export.settings import resolve  # with here and there, heavy
    from otel_ml_collector.cli.doctor import here
    from otel_ml_collector.cli.doctor.there import Visit

    key = os.environ.get("OTEL_ML_API_KEY")
    settings = resolve(endpoint, project, key, "http/protobuf")
    yield from find_within("versions", here.find_versions)
    yield from find_within("variables", lambda: here.find_variables(os.environ))
    if not settings.url:
        todo = "expected an address such as http://localhost:4318"
        yield Finding("fail", "endpoint", "The endpoint is no address", todo)
        return
    yield from find_within("proxy", lambda: here.find_proxy(settings.page))
    yield from find_within("disk", lambda: here.find_disk(settings.page, os.environ))
    yield from find_within("forward", lambda: here.find_targets(settings.page, os.environ))
    visit = Visit(settings, project, grpc or _grpc_address(settings.page))
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
