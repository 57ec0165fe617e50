"""The programs of the docs pages about frameworks record the documented runs and spans once."""

import fcntl
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml_collector.store.lock import LOCK_FILE
from tests.nightly.services.test_fastapi import ASGI_MESSAGE
from tests.support.collector import CollectorProcess, running
from tests.support.services.frameworks import FOLDER, FOLLOWED, TEXTS, write_files
from tests.support.services.processes import complete
from tests.support.waiting import wait_until

# The span name of a request in the instrumentation of each framework.
REQUESTS: Final = {
    "django": "GET predict",
    "fastapi": "GET /predict",
    "flask": "GET /predict",
    "gunicorn": "GET /predict",
}

# A trace: name, kind, span kind and parent's name of each of its spans.
Tree = list[tuple[str, str, str, str]]


def trees(collector: CollectorProcess, project: str) -> list[Tree]:
    """Return all spans of a project, by trace."""
    found = []
    for trace in {run["trace_id"] for run in collector.runs(project)}:
        spans = {one["run_id"]: one for one in collector.get(f"/traces/{trace}")["runs"]}
        assert {one["project"] for one in spans.values()} == {project}
        names = {key: one["name"] for key, one in spans.items()}
        found.append(
            sorted(
                (
                    one["name"],
                    one["kind"],
                    one["span_kind"],
                    names[one["parent_run_id"]] if one["parent_run_id"] else "",
                )
                for one in spans.values()
            )
        )
    return sorted(found)


def calls(collector: CollectorProcess, project: str, model: str) -> list[tuple[Any, Any]]:
    """Return input and output of each run of a model, in the order of the calls."""
    runs = [
        collector.get(f"/runs/{one['run_id']}")
        for one in collector.runs(project, where=f'model == "{model}"')
    ]
    return [
        (run["inputs"], run["outputs"]) for run in sorted(runs, key=lambda run: run["start_ns"])
    ]


LENGTHS: Final = [({"text": text}, {"length": len(text)}) for text in TEXTS]


@pytest.fixture(scope="module")
def follow(
    collector: CollectorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str]:
    """Return a function that runs a page's programs once for all tests and returns their output."""
    return cache(lambda page: FOLLOWED[page](page, collector, tmp_path_factory.mktemp(page)))


@pytest.mark.parametrize("page", REQUESTS)
def test_request(page: str, collector: CollectorProcess, follow: Callable[[str], str]) -> None:
    """A request is one server span, with the run of its model below it."""
    follow(page)
    request = REQUESTS[page]
    tree: Tree = sorted(
        [(request, "span", "server", ""), ("predict", "model", "internal", request)]
    )
    assert trees(collector, page) == [tree] * len(TEXTS)
    assert calls(collector, page, "predict") == LENGTHS
    assert len(collector.runs(page)) == len(TEXTS)


def test_gunicorn_workers(collector: CollectorProcess, follow: Callable[[str], str]) -> None:
    """Each run of Gunicorn's page has a tag with the forked worker that made it."""
    workers = {
        int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", follow("gunicorn"))
    }
    asked = {run["tags"]["worker"] for run in collector.runs("gunicorn")}
    assert len(workers) == 2
    assert asked
    assert asked <= workers


def test_bentoml(collector: CollectorProcess, follow: Callable[[str], str]) -> None:
    """A request to BentoML is one server span, with the run of its model below it."""
    follow("bentoml")
    request = "POST /predict"
    found = [
        [span for span in tree if not ASGI_MESSAGE.search(span[0])]
        for tree in trees(collector, "bentoml")
    ]
    tree = [(request, "span", "server", ""), ("predict", "model", "internal", request)]
    assert found == [tree] * len(TEXTS)
    assert calls(collector, "bentoml", "predict") == LENGTHS


@pytest.mark.parametrize("is_silent", [False, True])
def test_bentoml_samples_nothing_unasked(tmp_path: Path, is_silent: bool) -> None:
    """BentoML without a sampling rate is reported to sample nothing; the page's service is not."""
    write_files("bentoml", tmp_path)
    if is_silent:
        service = tmp_path / "service.py"
        text, rates = re.subn(r"tracing=\{.*\}", "", service.read_text())
        assert rates == 1
        service.write_text(text)
    (tmp_path / "asked.py").write_text(
        "import service\nfrom otel_ml.instrumentations import unsampled\nprint(unsampled())\n"
    )
    said = complete("asked", folder=tmp_path)
    assert ("BentoML samples no trace" in said) is is_silent


def test_celery(collector: CollectorProcess, follow: Callable[[str], str]) -> None:
    """Sender and worker share one trace: sender, sent task, received task, and the model's run."""
    follow("celery")
    sent, received = "apply_async/tasks.score", "run/tasks.score"
    task: Tree = [
        (sent, "span", "producer", "nightly"),
        (received, "span", "consumer", sent),
        ("score", "model", "internal", received),
    ]
    assert trees(collector, "celery") == [
        sorted([("nightly", "chain", "internal", ""), *task * len(TEXTS)])
    ]
    assert sorted(calls(collector, "celery", "score"), key=str) == sorted(LENGTHS, key=str)


def is_free(data: Path) -> bool:
    """Return whether no collector uses a data directory."""
    with (data / LOCK_FILE).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_notebook(tmp_path_factory: pytest.TempPathFactory, follow: Callable[[str], str]) -> None:
    """Cells show the collector, an answer, a run with its page, and tables of runs."""
    cells = json.loads(follow("notebook"))["cells"]
    shown = [one["data"] for cell in cells for one in cell["outputs"] if "data" in one]
    launched, *others = ["".join(one["text/plain"]) for one in shown]
    found = re.fullmatch(r"<Collector (\S+) otel-ml-data \1>", launched)
    assert found is not None
    [data] = tmp_path_factory.getbasetemp().glob("notebook[0-9]/otel-ml-data")
    wait_until(lambda: is_free(data), 60)  # the kernel's collector has ended
    with running(data) as collector:
        recorded = collector.runs("notebook")
        named = {run["name"]: run for run in recorded if run["name"] != "answer"}
        training = collector.get(f"/runs/{named['training']['run_id']}")
    page = f"{found[1]}/projects/notebook/runs"
    calls = {run["outputs"]: run for run in recorded if run["name"] == "answer"}
    hello, again, question = calls["Say hello"], calls["Say again"], named["question"]
    assert others[:5] == [
        "'Say hello'",
        f"<OpenedRun {training['run_id']} ok {page}/{training['run_id']}>",
        f"<Runs notebook {page}>",
        f"<Trace {hello['trace_id']} 1 run>",
        "'Say again'",
    ]
    everything, cell = ("".join(shown[place]["text/html"]) for place in (3, 6))
    assert f'href="{page}/{training["run_id"]}"' in everything
    assert f'href="{page}/{again["run_id"]}"' not in everything
    assert [f'href="{page}/{run["run_id"]}"' in cell for run in (question, again)] == [True] * 2
    assert again["parent_run_id"] == question["run_id"]
    assert (again["outputs"], again["version"]) == ("Say again", 1)
    assert training["metrics"]["loss"] == [1 / step for step in range(1, 6)]


def test_every_page_is_followed() -> None:
    """Every page with such a program is tested here."""
    pages = {page.stem for page in FOLDER.glob("*.md") if " services\n" in page.read_text()}
    assert pages == set(FOLLOWED)
