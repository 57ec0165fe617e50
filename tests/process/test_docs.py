"""Tests that everything public is documented, and that documented code runs."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from html import unescape
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

import otel_ml
from docs import make_dialects
from docs.make_reference import TARGET, make
from docs.markdown import anchor
from otel_ml.imports import TableOptions
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.filter.fields import FIELD_NAMES
from otel_ml_collector.serve.routes import ROUTES
from otel_ml_collector.settings.table import TABLE
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.sampling import at_night

README = ROOT / "README.md"
TUTORIAL = ROOT / "docs/tutorial.md"
SCIKIT_LEARN = ROOT / "docs/how-to/scikit-learn.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "deploy/README.md"]
BESIDE_README = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
# Blocks fenced as `python integrations` need frameworks: tests/nightly/integrations runs them.
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"^```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
MARKED_LINK = re.compile(r"\[([^\]\[]+)\]\([^)]*\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
DELAY = re.compile(r" is busy |^Waiting for .* accepts nothing now|^Delivery to .* works again")
VARIABLE = re.compile(r"OTEL_[A-Z_]*[A-Z]")
HERE = "http://127.0.0.1:4318"


def read(page: str) -> str:
    return (ROOT / page).read_text()


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings as GitHub creates them."""
    found: list[str] = []
    counts: Counter[str] = Counter()
    for heading in HEADING.findall(FENCED.sub("", page.read_text())):
        slug = anchor(heading)
        found.append(f"{slug}-{counts[slug]}" if counts[slug] else slug)
        counts[slug] += 1
    return set(found)


def test_every_setting_is_documented() -> None:
    """Every setting is in the docs with its flag, variable, key, default and help text."""
    page = MARKED_LINK.sub(r"\1", read("docs/configuration.md")).replace("`", "")
    for setting in TABLE:
        row = f"| {setting.flag} | {setting.variable} | {setting.name} | "
        row += f"{setting.default} | " if setting.default else "| "
        assert f"{row}{setting.help}.".replace("`", "") in page


def test_every_variable_is_documented() -> None:
    """Every environment variable that the SDK reads is in the docs."""
    named = set()
    for module in (ROOT / "otel_ml").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= {node.value} if VARIABLE.fullmatch(node.value) else set()
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"_standard", "_choice"}:
                said = node.args[0]
                if isinstance(said, ast.Constant) and isinstance(said.value, str):
                    named.add(f"OTEL_EXPORTER_OTLP_{said.value}")
    text = read("docs/configuration.md")
    kinds = {"OTEL_ML_CAPTURE", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_COMPRESSION"}
    assert kinds <= named  # the search finds each kind of name
    assert [name for name in sorted(named) if f"`{name}`" not in text] == []


def test_every_endpoint_is_documented() -> None:
    """The tables of docs/api.md list every API call."""
    text = read("docs/api.md")
    calls = [
        f"`{method} {route.path.removeprefix('/api/v1')}`"
        for route in ROUTES
        if isinstance(route, DeferredRoute) and route.path.startswith("/api/v1/")
        for method in route.methods or ()
        if route.include_in_schema
    ]
    names = {":path": "", "{key}": "{id or key}", "{number}": "{n}"}
    for name, shown in names.items():
        calls = [call.replace(name, shown) for call in calls]
    assert len(calls) > 100
    assert [call for call in calls if call not in text] == []


def test_every_field_of_the_filter_is_documented() -> None:
    """Every filter field is in the docs with its kind and its description."""
    lines = read("docs/filters.md").splitlines()
    for name, field in FIELD_NAMES.items():
        short, key = (f" `{text}` |" if text else " |" for text in (field.short, field.key))
        assert f"| `{name}` | {field.kind.value} |{short}{key} {field.about} |" in lines


def test_every_metric_is_documented(collector: CollectorProcess) -> None:
    """Every metric of the collector is in the docs under its Prometheus name."""
    page = collector.get_text("/metrics")
    named = re.findall(r"^# TYPE (otel_ml_\w+(?<!_created)) ", page, re.MULTILINE)
    assert {"otel_ml_runs_total", "otel_ml_commit_seconds"} <= set(named)
    text = read("docs/prometheus.md")
    assert [name for name in named if f"`{name}`" not in text] == []


def test_every_public_name_has_a_heading() -> None:
    """Every public name of the SDK has its own heading in the docs."""
    headings = re.findall(r"^## (\w+)$", read("docs/reference.md"), re.MULTILINE)
    assert set(otel_ml.__all__) <= set(headings)


def test_reference_is_what_the_docstrings_say() -> None:
    """The reference is up to date: it equals the output of `make docs`."""
    assert TARGET.read_text() == make()


def test_every_argument_of_an_import_is_described() -> None:
    """The options that `import_table` takes as a `TypedDict` have their texts in the reference."""
    [chapter] = re.findall(
        r"^### Client\.import_table$(.*?)^### ", read("docs/reference.md"), re.MULTILINE | re.DOTALL
    )
    items = re.findall(r"^\* .*", chapter, re.MULTILINE)
    assert len(items) == 2 + len(TableOptions.__annotations__)
    assert [item for item in items if "): " not in item] == []


def test_dialects_are_what_the_mapping_reads() -> None:
    """The page on dialects is up to date: it equals the output of `make docs`."""
    assert make_dialects.TARGET.read_text() == make_dialects.make()


@pytest.mark.parametrize("name", ["how-to", "design"])
def test_every_page_is_in_the_index(name: str) -> None:
    """Every page of a folder is listed in the folder's README."""
    folder = ROOT / "docs" / name
    listed = {target for target, _ in LINK.findall((folder / "README.md").read_text())}
    assert {page.name for page in folder.glob("*.md")} - {"README.md"} <= listed


def test_links_lead_somewhere() -> None:
    """Every link to a file, or to a heading of a file, has an existing target."""
    astray = []
    for page in [*PAGES, *BESIDE_README]:
        for target, heading in LINK.findall(page.read_text()):
            linked = page.parent / target if target else page
            if not linked.exists() or (heading and heading not in anchors(linked)):
                astray.append((page.name, target, heading))
    assert astray == []


def run_blocks(page: Path, collector: CollectorProcess, folder: Path) -> None:
    """Run a page's blocks one after another, each as a separate program."""
    environment = {
        **os.environ,
        "OTEL_ML_ENDPOINT": collector.endpoint,
        "OTEL_ML_PROJECT": page.stem,
    }
    for number, block in enumerate(PYTHON.findall(page.read_text())):
        script = folder / f"block_{number}.py"
        script.write_text(block.replace(HERE, collector.endpoint))
        ended = subprocess.run(
            [sys.executable, str(script)],
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
            env=environment,
            cwd=folder,
        )
        said = [line for line in ended.stderr.splitlines() if not DELAY.search(line)]
        assert (ended.returncode, said) == (0, []), block


@at_night
@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        if page not in {TARGET, TUTORIAL, README, SCIKIT_LEARN} and PYTHON.search(page.read_text())
    ],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_python_blocks_run(page: Path, collector: CollectorProcess, tmp_path: Path) -> None:
    """Every Python block in the docs is a complete program that runs without warnings."""
    run_blocks(page, collector, tmp_path)


@at_night
def test_shell_leaves_a_run(collector: CollectorProcess) -> None:
    """The shell command of the page on OTLP stores a run."""
    block = SHELL.search(read("docs/how-to/send-with-any-otlp-client.md"))
    assert block is not None
    command = block[1].replace(HERE, collector.endpoint).replace(": shop'", ": from a shell'")
    ended = subprocess.run(
        ["bash", "-c", command], check=False, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "{}", "")
    [run] = collector.runs("from a shell")
    assert (run["name"], run["model"], run["latency_ms"], run["tokens"]["input"]) == (
        "chat gpt-4o-mini",
        "gpt-4o-mini",
        250.0,
        12,
    )
    assert collector.get(f"/runs/{run['run_id']}")["resource"] == {"service.name": "shell"}


def read_first_page(page: Path, collector: CollectorProcess) -> str:
    """Read the page that readers open after their first program."""
    (address,) = re.findall(rf"^Open <{HERE}(\S*)>", page.read_text(), re.MULTILINE)
    with urlopen(collector.endpoint + address) as answered:
        return unescape(answered.read().decode())


def test_readme_is_short() -> None:
    """The README has at most 130 lines."""
    assert len(README.read_text().splitlines()) <= 130


def test_readme_leaves_runs(collector: CollectorProcess, tmp_path: Path) -> None:
    """The first program of the README stores one run with version, input and output."""
    run_blocks(README, collector, tmp_path)
    [answer] = collector.runs("my-project")
    assert (answer["model"], answer["version"], answer["inputs"], answer["outputs"]) == (
        "answer",
        1,
        "What is a span?",
        "You asked: What is a span?",
    )
    assert "You asked: What is a span?" in read_first_page(README, collector)


@at_night
def test_tutorial_leaves_what_it_speaks_of(collector: CollectorProcess, tmp_path: Path) -> None:
    """The programs of the tutorial store the models, versions and scores that it mentions."""
    run_blocks(TUTORIAL, collector, tmp_path)
    runs = reversed(collector.runs("tutorial"))
    assert [(run["model"], run["version"], run["scores"]) for run in runs] == [
        ("classify", 1, {}),
        ("classify", 1, {}),
        ("classify", 1, {"brief": 1.0}),
        ("classify", 1, {"brief": 0.0}),
        ("classify", 2, {}),
        ("fit-spam", None, {}),
        ("explain", 1, {}),
        ("ask", 1, {}),
        ("classify", 3, {"correct": 0.0}),
    ]
    assert "Free tickets, click here" in read_first_page(TUTORIAL, collector)


@at_night
def test_scikit_learn_leaves_trainings(collector: CollectorProcess, tmp_path: Path) -> None:
    """The scikit-learn page stores three trainings with params and curves, and a best one."""
    run_blocks(SCIKIT_LEARN, collector, tmp_path)
    trained = [run["run_id"] for run in collector.runs("scikit-learn")[2::-1]]
    asked = urlencode({"of": trained}, doseq=True)
    found = collector.get(f"/projects/scikit-learn/compare?{asked}")
    assert found["differing"] == ["eta0"]
    assert found["same"]["loss"] == "log_loss"
    assert [side["params"]["eta0"] for side in found["sides"]] == [0.001, 0.01, 0.1]
    assert [side["metrics"]["loss"]["count"] for side in found["sides"]] == [10, 10, 10]
    assert found["sentence"].startswith("C has the lowest loss")


@at_night
def test_scikit_learn_leaves_a_model(collector: CollectorProcess, tmp_path: Path) -> None:
    """The scikit-learn page records which training made a version, and its prediction."""
    run_blocks(SCIKIT_LEARN, collector, tmp_path)
    called, trained = collector.runs("scikit-learn-flowers")[:2]
    [version] = collector.get("/projects/scikit-learn-flowers/models/flowers/versions")["versions"]
    assert called["outputs"] == "0"
    assert version["definition"]["params"]["n_estimators"] == 20
    assert trained["run_id"] in [run["run_id"] for run in version["produced_by"]]
