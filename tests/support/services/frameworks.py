"""Follow the docs pages on frameworks: write their files, run their commands, send requests.

A page fences its programs as ``python services``, each with its file name in the first line,
notebook cells as ``python notebook``, and commands as ``sh services``. The tests query the
collector for the results, and `tests.support.browser.pictures` takes pictures of them.
"""

import json
import os
import re
import shlex
import socket
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.services.processes import NEVER_BY_ITSELF, Service, complete, serving
from tests.support.waiting import wait_until

FOLDER: Final = ROOT / "docs" / "how-to"
_BLOCK: Final = re.compile(r"^```(python|sh) services\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CELL: Final = re.compile(r"^```python notebook\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE: Final = re.compile(r"# (\S+\.py)\n")
# Free ports, instead of the default ports in the pages.
_FREE_PORTS: Final = {
    "FLASK_RUN_PORT": "0",
    "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:0",
    "UVICORN_PORT": "0",
}
# The kernel's environment has no collector. It takes the packages of this one.
KERNEL_PATH: Final = os.pathsep.join(
    map(str, (ROOT, ROOT / "collector", sysconfig.get_path("purelib")))
)
TEXTS: Final = ("one", "three")


def write_files(page: str, folder: Path) -> list[list[str]]:
    """Write the files of a page; return its commands, each split into words."""
    commands: list[list[str]] = []
    for language, text in _BLOCK.findall((FOLDER / f"{page}.md").read_text()):
        if language == "sh":
            commands += [shlex.split(line) for line in text.splitlines()]
        else:
            named = _FILE.match(text)
            assert named, f"the first line names no file: {text}"
            (folder / named[1]).write_text(text)
    return commands


@contextmanager
def started(
    page: str, ready: str, collector: CollectorProcess, folder: Path, times: int = 1
) -> Iterator[Service]:
    """Start the first command of a page in the folder of its files, until the block ends.

    Spans are delivered when its processes exit, as the page describes, not after a delay.
    """
    command = write_files(page, folder)[0]
    variables = {"OTEL_ML_ENDPOINT": collector.endpoint, **_FREE_PORTS, **NEVER_BY_ITSELF}
    with serving(*command, ready=ready, times=times, variables=variables, folder=folder) as service:
        yield service


def ask_texts(page: str, collector: CollectorProcess, folder: Path) -> str:
    """Request the length of each text from a page's service; return the service's output."""
    ready = "running on" if page == "fastapi" else "Booting worker"
    with started(page, ready, collector, folder) as service:
        service.wait_for("http://127.0.0.1:")
        for text in TEXTS:
            assert service.get(f"/predict?text={text}") == {"length": len(text)}
        service.stop()
    return service.output


def post_texts(page: str, collector: CollectorProcess, folder: Path) -> str:
    """Post each text to the service of BentoML's page; return the service's output."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    [command] = write_files(page, folder)
    variables = {
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_PORT": port,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-otel-ml-project={page}",
        "OTEL_ML_ENDPOINT": collector.endpoint,
    }
    requests = 'kind == "span" and name == "POST /predict"'
    with serving(
        *command, ready="Service Shop initialized", variables=variables, folder=folder
    ) as service:
        for text in TEXTS:
            request = Request(
                f"http://127.0.0.1:{port}/predict",
                json.dumps({"text": text}).encode(),
                {"content-type": "application/json"},
            )
            with urlopen(request, timeout=120) as answer:
                assert json.load(answer) == {"length": len(text)}
        wait_until(lambda: len(collector.runs(page, where=requests)) == len(TEXTS))
        wait_until(lambda: len(collector.runs(page)) == len(TEXTS))
        service.stop()
    return service.output


def send_texts(page: str, collector: CollectorProcess, folder: Path) -> str:
    """Send a task for each text to the worker of a page; return the worker's output."""
    with started(page, "ready.", collector, folder) as service:
        complete("send", folder=folder, OTEL_ML_ENDPOINT=collector.endpoint)
        service.wait_for(" succeeded ", len(TEXTS))
        service.stop()
    return service.output


def execute_cells(page: str, _collector: CollectorProcess | None, folder: Path) -> str:
    """Execute the cells of a page with its command; return the notebook with its outputs.

    The cells launch a collector of their own.
    """
    text = (FOLDER / f"{page}.md").read_text()
    told: dict[str, object] = {"cell_type": "code", "metadata": {}, "execution_count": None}
    cells = [
        {**told, "id": f"cell-{number}", "outputs": [], "source": cell.rstrip()}
        for number, cell in enumerate(_CELL.findall(text))
    ]
    notebook = folder / f"{page}.ipynb"
    made = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    notebook.write_text(json.dumps(made))
    [command] = write_files(page, folder)
    complete(*command, folder=folder, PYTHONPATH=KERNEL_PATH)
    return notebook.read_text()


Follow = Callable[[str, CollectorProcess, Path], str]

# How to follow a page, by name, which is also the name of its project.
FOLLOWED: Final[dict[str, Follow]] = {
    "bentoml": post_texts,
    "celery": send_texts,
    "django": ask_texts,
    "fastapi": ask_texts,
    "flask": ask_texts,
    "gunicorn": ask_texts,
    "notebook": execute_cells,
}
