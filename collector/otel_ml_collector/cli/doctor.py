"""The command ``otel-ml doctor``: shows what its checks find."""

import json
import sys
from dataclasses import asdict
from typing import Final

import click

from otel_ml_collector.errors import BadSetting

PROJECT: Final = "otel-ml-doctor"
_PROJECT_CHARS: Final = 128


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
    from otel_ml_collector.cli.checks import find_all  # heavy

    found = []
    for finding in find_all(endpoint, grpc, project):
        found.append(finding)
        if not is_json:
            sys.stdout.write(f"{finding}\n")
            sys.stdout.flush()
    failed = any(finding.status == "fail" for finding in found)
    if is_json:
        answer = {"ok": not failed, "checks": [asdict(finding) for finding in found]}
        sys.stdout.write(f"{json.dumps(answer, indent=2)}\n")
    return int(failed)
