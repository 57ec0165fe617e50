"""Docs pages with a FastAPI service: start it as the page does, and send the page's request."""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from tests.support.folders import ROOT
from tests.support.services.processes import start_service

_HOW_TO: Final = ROOT / "docs" / "how-to"
_THERE: Final = "http://127.0.0.1:8000"
_READY: Final = "running on"


def find_block(page: str, fence: str) -> str:
    """Return the only block of a page that has this fence, such as ``sh request``."""
    found = re.findall(rf"^```{fence}\n(.*?)^```$", (_HOW_TO / page).read_text(), re.DOTALL | re.M)
    [block] = found
    return str(block)


def follow_page(page: str, programs: Path, folder: Path, **variables: str) -> str:
    """Save the service of a page, start it, send its request and stop it.

    Args:
        page: Name of the page in ``docs/how-to``.
        programs: Folder of the programs of a Python environment.
        folder: Where the service is saved and runs.
        variables: Its environment variables. It gets no other OpenTelemetry variables.

    Returns:
        The response to the request.
    """
    (folder / "service.py").write_text(find_block(page, "python service"))
    kept = {key: item for key, item in os.environ.items() if not key.startswith("OTEL_")}
    kept |= {"PATH": f"{programs}:{kept['PATH']}", "PYTHONUNBUFFERED": "1"}
    service = start_service(
        ["bash", "-c", f"exec {find_block(page, 'sh service').strip()} --port 0"],
        {**kept, "PYTHONPATH": str(ROOT), **variables},
        folder,
    )
    try:
        service.wait_for(_READY)
        command = find_block(page, "sh request")
        assert _THERE in command
        asked = subprocess.run(
            ["bash", "-c", command.replace(_THERE, service.address)],
            capture_output=True,
            text=True,
            timeout=180,
            check=True,
        )
        service.stop()
    finally:
        service.kill()
    return asked.stdout
