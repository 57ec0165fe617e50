"""A task queue whose tasks call a model; as a program it sends as many as it is told, and says so.

``BROKER`` is the directory that stands in for a broker's server.
"""

import os
import sys
from pathlib import Path

from celery import Celery

import otel_ml
from otel_ml import Client

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


@app.task(ignore_result=True, name="score")  # type: ignore[untyped-decorator]  # Celery has no types
@client.trace(name="score")
def score(number: int) -> int:
    otel_ml.current_run().tag(pid=os.getpid())
    return number * 2


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        score.delay(number)
    sys.stdout.write(f"{sys.argv[1]}\n")
