"""A notebook whose cells define, call and redefine a traced function.

Prints the displayed output of the cells, and the runs in the collector while the kernel is alive.
"""

import json
import os
import sys
from typing import Any
from urllib.request import urlopen

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from tests.support.waiting import wait_until

BEGIN = """
import otel_ml
client = otel_ml.Client()
"""
PROMPT = "PROMPT = 'Say {}'"
OTHER_PROMPT = "PROMPT = 'Shout {}'"
DEFINE = """
@client.trace(name="answer")
def answer(word):
    return PROMPT.format(word)
"""
CELLS = [
    BEGIN,
    *(PROMPT, DEFINE, "answer('first')"),
    *(DEFINE, "answer('defined again')"),
    *(OTHER_PROMPT, "answer('other prompt')"),
    *(PROMPT, DEFINE, "answer('first prompt again')"),
    *(DEFINE.replace("format(word)", "format(word + '!')"), "answer('other code')"),
    *("run = client.run('training')", "run"),
    "run.end()\nrun",
    "otel_ml.current_run()",
    "client",
    "from otel_ml.reader import Reader\nruns = Reader().runs()\nruns",
    "runs[0]",
    "len(runs), [run.model for run in runs[:2]]",
    "Reader(endpoint='http://127.0.0.1:9').runs()",
]
RECORDED = CELLS.index("client")


def runs(count: int) -> list[dict[str, Any]]:
    """Return the project's runs once the expected number of runs has ended."""
    address = f"{os.environ['OTEL_ML_ENDPOINT']}/api/v1/projects/{os.environ['OTEL_ML_PROJECT']}"

    def ended() -> list[dict[str, Any]] | None:
        with urlopen(f"{address}/runs") as answer:
            listed: list[dict[str, Any]] = json.load(answer)["runs"]
        is_whole = len(listed) == count and all(run["outputs"] is not None for run in listed)
        return listed if is_whole else None

    return wait_until(ended, about=f"{count} runs that have ended")


def main() -> dict[str, Any]:
    """Execute the cells in one kernel, and return runs and output."""
    notebook = new_notebook(cells=[new_code_cell(text) for text in CELLS])
    client = NotebookClient(notebook)
    with client.setup_kernel():
        for number, cell in enumerate(notebook.cells):
            if number == RECORDED:
                recorded = runs(6)
            client.execute_cell(cell, number)
        alive = client.km.has_kernel
    shown = [
        output["data"]
        for cell in notebook.cells
        for output in cell["outputs"]
        if output["output_type"] == "execute_result"
    ]
    return {
        "runs": recorded,
        "alive": alive,
        "shown": [one["text/plain"] for one in shown],
        "tables": [one.get("text/html", "") for one in shown],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main()) + "\n")
