"""A task queue whose tasks call a model; as a program, send a task N times and print N.

``BROKER`` is a directory that replaces a broker's server.
"""

import gc
import os
import sys
import time
from pathlib import Path
from typing import Final

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_process_init

import otel_ml
from otel_ml import Client

# Long enough for a task to begin on a busy machine.
LIMIT_S: Final = 1.0
# Far longer than a task that its time limit has ended.
LOST_S: Final = 60.0

client = Client()
folder = Path(os.environ["BROKER"])
app = Celery("tasks", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(folder / "queue"),
        "data_folder_out": str(folder / "queue"),
        "control_folder": str(folder / "control"),
    },
    worker_prefetch_multiplier=1,
)


@worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def collect_garbage(**_: object) -> None:
    """Collect the garbage that Celery leaves in a new child, before its first task.

    Python ignores the exception of a time limit that is raised while it deletes types of cffi. Up
    to 6 of 100 time limits were lost like this.
    """
    gc.collect()


@app.task(ignore_result=True, name="score")  # type: ignore[untyped-decorator]  # Celery has no types
@client.trace(name="score")
def score(number: int) -> int:
    otel_ml.current_run().tag(pid=os.getpid())
    return number * 2


@client.trace
def tiny(number: int) -> int:
    return number * 2


@app.task(ignore_result=True, name="limited", soft_time_limit=LIMIT_S)  # type: ignore[untyped-decorator]  # Celery has no types
def limited(number: int) -> str:
    """Call a model until the soft time limit comes out of it, and say so, or that it is lost."""
    ends_s = time.monotonic() + LOST_S
    try:
        while time.monotonic() < ends_s:
            tiny(number)
    except SoftTimeLimitExceeded:
        return "reached"
    return "lost"


if __name__ == "__main__":
    _, task, times = sys.argv
    for number in range(int(times)):
        app.tasks[task].delay(number)
    sys.stdout.write(f"{times}\n")
