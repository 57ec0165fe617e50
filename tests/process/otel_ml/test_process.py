"""Cases of tests/unit/otel_ml/test_process.py that start processes."""

from pathlib import Path

import pytest

from tests.support.otel_ml.scripts import ask_script

FORKING = """
import json, os
from otel_ml.process import PROCESS

def name():
    return [PROCESS.id, next(PROCESS.count_of("a"))]

next(PROCESS.count_of("a"))
read, write = os.pipe()
if os.fork() == 0:
    child = name()
    if os.fork() == 0:
        os.write(write, json.dumps([child, name()]).encode())
        os._exit(0)
    os.wait()
    os._exit(0)
os.wait()
print(json.dumps([name(), *json.loads(os.read(read, 1000))]))
"""


def test_forked_process_is_another(tmp_path: Path) -> None:
    """A forked child and its own child each have a new process id, and count from 1."""
    found = ask_script(tmp_path, FORKING)
    assert [number for _, number in found] == [2, 1, 1]
    assert len({name for name, _ in found}) == 3


RUNNING = """
import json, os
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_ml import Client

exporter = InMemorySpanExporter()
client = Client("shop", exporter=exporter, join=False)
call = client.trace(name="model")(lambda: 1)

def name():
    call()
    assert client.flush()
    found = exporter.get_finished_spans()[-1].attributes
    return [found["otel_ml.process"], found["otel_ml.seq"], found["otel_ml.model.version"]]

parent = [name(), name()]
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, json.dumps([name(), name()]).encode())
    os._exit(0)
os.wait()
print(json.dumps([*parent, *json.loads(os.read(read, 1000)), name()]))
"""


@pytest.mark.parametrize("own", [True, False], ids=["own", "joined"])
def test_runs_of_a_forked_process_are_its_own(tmp_path: Path, own: bool) -> None:
    """A run has the id of its process, numbers without gaps, and the same model version."""
    script = RUNNING
    if not own:
        script = script.replace(
            "join=False)",
            "tracer_provider=TracerProvider(shutdown_on_exit=False))",
        ).replace(
            "import json, os", "import json, os\nfrom opentelemetry.sdk.trace import TracerProvider"
        )
    found = ask_script(tmp_path, script)
    assert [number for _, number, _ in found] == [1, 2, 1, 2, 3]
    names = [name for name, _, _ in found]
    assert names[0] == names[1] == names[4] != names[2] == names[3]
    assert len({version for _, _, version in found}) == 1
