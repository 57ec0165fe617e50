"""Cases of tests/unit/otel_ml/test_ids.py that start processes."""

import os
from pathlib import Path

from otel_ml import Client
from tests.support.otel_ml.scripts import ask_script

SEEDED = """
import json
import random

from otel_ml import Client

ids = []
for _ in range(2):
    random.seed(42)
    with Client(join=False, endpoint="http://127.0.0.1:9").run("fit") as run:
        ids.append(run.id)
print(json.dumps(ids), flush=True)
import os
os._exit(0)
"""


def test_seeded_programs_have_ids_of_their_own(tmp_path: Path) -> None:
    """Runs of programs with the same random seed have different ids."""
    ids = {*ask_script(tmp_path, SEEDED), *ask_script(tmp_path, SEEDED)}
    assert len(ids) == 4


def test_forked_child_has_ids_of_its_own(client: Client) -> None:
    """A forked child does not continue its parent's ids."""
    client.run("before").end()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, client.run("child").id.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 49).decode() != client.run("parent").id
    os.close(read)
    os.close(write)
