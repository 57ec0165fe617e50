"""Runs every command line of the README and the docs; `NOT_TYPED` lists exceptions with reasons."""

import contextlib
import gzip
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

import otel_ml
from tests.support.certificates import make_certificate
from tests.support.collector import CollectorProcess, running
from tests.support.folders import ROOT
from tests.support.langfuse_export import export_recording
from tests.support.sampling import at_night
from tests.support.waiting import elapsed, wait_until

NAMES: Final = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md")
PAGES: Final = [*(ROOT / name for name in NAMES), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE: Final = re.compile(r"^```([^`\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE: Final = re.compile(r"`((?:otel-ml|make|python -m) [^`]+)`")

# Beginnings of commands that are not run, nor the commands after them in their block, and why.
NOT_TYPED: Final = {
    "docker build": "needs a Docker engine: tests/nightly/deploy/test_image.py builds without one",
    "docker compose": "needs a Docker engine: tests/nightly/deploy checks the files that it reads",
    "clickhouse-client": "needs a ClickHouse server, and so does what follows",
    "rotel start": "tests/nightly/interop/test_rotel.py starts rotel with these options",
    "make test": "is what runs this test",
    "otel-ml import mlflow": "needs MLflow: tests/nightly/integrations/test_mlflow_traces.py",
    "/opt/otel-ml": "needs the installed service: tests/nightly/deploy/test_private_folders.py",
    "rsync ": "needs a second machine: tests/process/end_to_end/test_backup.py restores",
}
# Programs that run until they are stopped, and their output when they are ready.
GOES_ON: Final = {
    "otel-ml serve": "otel-ml is ready",
    "python examples/backend.py": "ready",
    "uvicorn ": "startup complete",
    "curl -N ": "",
    "make demo": "Ctrl-C ends the demo",
}
READY_S: Final = 120
MAKE_S: Final = 1_500  # a slow network needs that long for a gigabyte


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: commands, or for ``console`` a command and its output."""

    page: str
    language: str
    text: str

    @property
    def statements(self) -> list[str]:
        """The commands of the block, up to the first one that is not run here."""
        found: list[str] = []
        open_lines = ""
        for line in self.text.splitlines():
            open_lines += line + "\n"
            is_whole = subprocess.run(
                ["bash", "-n", "-c", open_lines], capture_output=True, check=False
            )
            if is_whole.returncode == 0 and not line.endswith("\\"):
                if open_lines.startswith(tuple(NOT_TYPED)):
                    return found
                found.append(open_lines.strip())
                open_lines = ""
        assert not open_lines, f"the shell waits for more: {open_lines}"
        return found


BLOCKS: Final = [
    Block(str(page.relative_to(ROOT)), language, text)
    for page in PAGES
    for language, text in FENCE.findall(page.read_text())
]
SHELL: Final = [block for block in BLOCKS if block.language == "bash"]
IN_FRESH: Final = [one for one in SHELL if re.search(r"^(pip|make)\b", one.text, re.MULTILINE)]
# An install command, in a block of any language or in a sentence.
INSTALL: Final = re.compile(
    r"((?:pip|pipx|npm) install\s+[^\s`#][^`#]*?)\s*(?:`|  #|$)", re.MULTILINE
)
# Run by tests/process/test_evaluate_in_ci.py, after the command that fetches the file.
OF_A_FILE: Final = ("docs/how-to/evaluate-in-ci.md", "pip install wheels/otel_ml-*.whl")
HERE: Final = sorted({one.page for one in SHELL if one not in IN_FRESH and one.statements})


def find_installs() -> list[tuple[str, str]]:
    """Return the install commands that are not in a block that is run as a whole."""
    typed = {
        (block.page, line.partition("  #")[0].rstrip())
        for block in IN_FRESH
        for line in block.statements
    }
    installs = {
        (str(page.relative_to(ROOT)), " ".join(line.split()))
        for page in PAGES
        for line in INSTALL.findall(page.read_text())
    }
    return sorted(installs - typed - {OF_A_FILE})


INSTALLS: Final = find_installs()


@dataclass(slots=True)
class Terminal:
    """A shell in a folder; exports last, and background programs run until it is closed.

    Attributes:
        replaced: Placeholders of the docs, and the values to use instead.
    """

    folder: Path
    environment: Mapping[str, str]
    replaced: dict[str, str] = field(default_factory=dict)
    shown: str = ""
    _going_on: list[tuple[subprocess.Popen[str], threading.Thread]] = field(default_factory=list)

    def type(self, statement: str) -> str:
        """Run a command of the docs; return its output, which `shown` collects too."""
        for written, here in self.replaced.items():
            statement = statement.replace(written, here)
        if re.match(r"export |\w+=\$\(.*\)$", statement):
            said = self._run(f"set -a\n{statement}\nenv -0")
            self.environment = dict(one.split("=", 1) for one in said.rstrip("\0").split("\0"))
            return ""
        for begins, ready in GOES_ON.items():
            if statement.startswith(begins):
                return self._start(statement.removesuffix("&"), ready)
        said = self._run(statement)
        self.shown += said
        return said

    def close(self) -> None:
        """Stop all background programs, last one first."""
        while self._going_on:
            process, reader = self._going_on.pop()
            process.terminate()
            process.wait(READY_S)
            reader.join(READY_S)

    def _run(self, statement: str) -> str:
        done = subprocess.run(
            ["bash", "-c", statement],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=MAKE_S,
            check=False,
        )
        assert done.returncode == 0, f"{statement}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, statement: str, ready: str) -> str:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {statement}"],
            cwd=self.folder,
            env={**self.environment, "OTEL_ML_HTTP": "127.0.0.1:0", "OTEL_ML_GRPC": "127.0.0.1:0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._going_on.append((process, reader))
        reader.start()
        begun = len(self.shown)
        wait_until(lambda: ready in self.shown[begun:] or process.poll() is not None, MAKE_S)
        assert process.poll() is None, f"{statement}:\n{self.shown[begun:]}"
        return self.shown[begun:]

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.shown += line


@contextlib.contextmanager
def terminal(folder: Path, programs: Path, **variables: str) -> Iterator[Terminal]:
    """Open a terminal that finds the programs of an environment."""
    environment = {name: text for name, text in os.environ.items() if "OTEL_" not in name}
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    opened = Terminal(folder, {**environment, "PATH": path, "PYTHONUNBUFFERED": "1", **variables})
    try:
        yield opened
    finally:
        opened.close()


def type_page(page: str, shell: Terminal) -> None:
    """Run all commands of a page; background programs are stopped before the next block."""
    for block in SHELL:
        if block.page == page and block not in IN_FRESH and block.statements:
            shell.close()
            for statement in block.statements:
                shell.type(statement)


ALL: Final = 'kind == "span" or kind == "model" or kind == "chat"'
STOCK: Final = """
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
chat = {"gen_ai.operation.name": "chat"}
provider.get_tracer("stock").start_span("by variables", attributes=chat).end()
"""


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def tell(collector: CollectorProcess) -> CollectorProcess:
    """Record the runs that the pages need: slow, failed and training runs of a shop."""
    client = otel_ml.Client("shop", endpoint=collector.endpoint)

    @client.trace(name="answer", tags={"client": "acme"})
    def answer(seconds: float) -> None:
        otel_ml.current_run().identify(session="chat-17", user="ada")
        wait_until(elapsed(seconds))
        raise ValueError("out of stock")

    with contextlib.suppress(ValueError):
        answer(0.25)
    with client.run("training", kind="training") as run:
        run.log_metrics({"loss": 0.5}, step=0)
    assert client.flush()
    client.close()
    return collector


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector with the runs that the pages need, in the projects that they name."""
    with running(tmp_path_factory.mktemp("told") / "data") as collector:
        yield tell(collector)


def at(collector: CollectorProcess, folder: Path) -> contextlib.AbstractContextManager[Terminal]:
    """Open a terminal on a collector's machine, in a folder with the examples and tests."""
    for name in ("examples", "tests"):
        (folder / name).symlink_to(ROOT / name)
    host = collector.endpoint.removeprefix("http://")
    return terminal(
        folder, Path(sys.executable).parent, OTEL_ML_ENDPOINT=collector.endpoint, OTEL_ML_HTTP=host
    )


OF_THEIR_OWN: Final = {
    "docs/api.md",
    "docs/how-to/agents.md",
    "docs/how-to/backup.md",
    "docs/how-to/import-from-tools.md",
    "docs/how-to/keys-and-projects.md",
    "docs/how-to/read-records.md",
    "docs/how-to/records.md",
    "docs/how-to/runs.md",
    "docs/how-to/send-with-any-otlp-client.md",
    "docs/how-to/services.md",
    "docs/tutorial-table.md",
}


# Without --no-wait the purge would take up to two minutes, until an idle engine removes replaced
# files. tests/nightly/otel_ml_collector/test_retention.py waits for that.
_PURGE: Final = "otel-ml storage --purge"
FEWER: Final = {
    _PURGE: f"{_PURGE} --no-wait",
}


@at_night
@pytest.mark.parametrize("page", sorted(set(HERE) - OF_THEIR_OWN))
def test_page(page: str, told: CollectorProcess, tmp_path: Path) -> None:
    """Every command of a page succeeds, or reports that it is ready."""
    with at(told, tmp_path) as shell:
        shell.replaced = {"http://localhost:4318": told.endpoint, **FEWER}
        type_page(page, shell)


@at_night
def test_agents(tmp_path: Path) -> None:
    """The commands of the page on agents query a collector and write to it."""
    with (
        running(tmp_path / "otel-ml-data", "--mcp-writes") as served,
        at(tell(served), tmp_path) as shell,
    ):
        [answer] = served.get("/projects/shop/runs?where=model+%3D%3D+%22answer%22")["runs"]
        shell.replaced["RUN_ID"] = answer["run_id"].rpartition("-")[2]
        type_page("docs/how-to/agents.md", shell)
        [answer] = served.get("/projects/shop/runs?where=model+%3D%3D+%22answer%22")["runs"]
        assert answer["agent"] == {"triage": "timeout"}
        assert served.get("/projects/shop/datasets")["datasets"][0]["name"] == "regressions"


@at_night
def test_live(told: CollectorProcess, tmp_path: Path) -> None:
    """The live stream of the API page reports a slow run."""
    client = otel_ml.Client("default", endpoint=told.endpoint)
    with at(told, tmp_path) as shell:
        shell.replaced["http://127.0.0.1:4318"] = told.endpoint
        type_page("docs/api.md", shell)

        def is_heard() -> bool:
            with client.run("slow"):
                wait_until(elapsed(0.25))
            client.flush()
            return "event: run" in shell.shown

        wait_until(is_heard)
    client.close()


@at_night
def test_table_of_predictions(told: CollectorProcess, tmp_path: Path) -> None:
    """The commands of the table tutorial find the broken input and its hospital."""
    page = "docs/tutorial-table.md"
    [program] = [one.text for one in BLOCKS if one.page == page and one.language == "python"]
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    with at(told, tmp_path) as shell:
        type_page(page, shell)
        found = shell.type("otel-ml findings --project clinic")
    first = found.splitlines()[1]
    assert 'input "mean texture" is missing for hospital C in 100 % of runs since ' in first
    assert ", never elsewhere " in first
    [target] = told.get("/projects/clinic/targets")["targets"]
    assert (target["model"], target["prediction"]) == ("biopsy", "outputs.benign")


@at_night
def test_exports_of_other_tools(told: CollectorProcess, tmp_path: Path) -> None:
    """The commands of the page on other tools import the files of these tools."""
    for folder in ("otlp_files", "phoenix_files"):
        shutil.copytree(ROOT / "tests/support" / folder, tmp_path, dirs_exist_ok=True)
    sent = json.loads((ROOT / "tests/support/recorded/recordings/langfuse_people.json").read_text())
    for name, rows in export_recording(sent, "blob").items():
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    with at(told, tmp_path) as shell:
        type_page("docs/how-to/import-from-tools.md", shell)
        assert "Imported 6 spans and 3 log records" in shell.shown
        assert "Imported 9 spans, 7 scores and 1 data set" in shell.shown
        assert "Imported 1 span and 7 scores" in shell.shown
    assert len(told.runs("assistant", where=ALL)) == 6
    assert len(told.runs("helpdesk", where=ALL)) == 1


@at_night
def test_backup(tmp_path: Path) -> None:
    """The commands of the backup page restore a backup and serve the same runs."""
    with running(tmp_path / "otel-ml-data") as served, at(tell(served), tmp_path) as shell:
        shell.replaced["/backups"] = str(tmp_path / "backups")
        type_page("docs/how-to/backup.md", shell)
        restored = re.findall(r"otel-ml is ready: (http://\S+)", shell.shown)[-1]
        assert '"answer"' in shell.type(f"curl -sS {restored}/api/v1/projects/shop/runs")


@at_night
def test_read_records(told: CollectorProcess, tmp_path: Path) -> None:
    """Each command of the page on reading records has output in the requested format."""
    [slow] = told.runs("shop", where='model == "answer"')
    [trained] = told.runs("shop", where='kind == "training"')
    with at(told, tmp_path) as shell:
        shell.replaced["RUN_ID"] = trained["run_id"]
        type_page("docs/how-to/read-records.md", shell)
        assert f"{slow['latency_ms']}" in shell.shown
        assert (tmp_path / "runs.csv").read_text().startswith("model,latency_ms,tags")
        assert (tmp_path / "runs.parquet").read_bytes()[:4] == b"PAR1"


@at_night
def test_records(told: CollectorProcess, tmp_path: Path) -> None:
    """The commands of the page on records start a service, and a collector that sends to it."""
    with at(told, tmp_path) as shell:
        address = free_address()
        shell.replaced["127.0.0.1:4319"] = address
        type_page("docs/how-to/records.md", shell)
        assert "ready: " in shell.shown
        assert "otel-ml is ready" in shell.shown


@at_night
def test_send(told: CollectorProcess, tmp_path: Path) -> None:
    """The commands of the OTLP page send a run, and its variables configure a stock exporter."""
    made = make_certificate(tmp_path)
    with at(told, tmp_path) as shell:
        shell.replaced |= {
            "http://127.0.0.1:4318": told.endpoint,
            "x-otel-ml-project: shop": "x-otel-ml-project: sent",
            "x-otel-ml-project=shop": "x-otel-ml-project=sent",
            "/etc/otel-ml/cert.pem": str(made.cert),
            "/etc/otel-ml/key.pem": str(made.key),
        }
        type_page("docs/how-to/send-with-any-otlp-client.md", shell)
        (tmp_path / "stock.py").write_text(STOCK)
        shell.type("python stock.py")
        names = sorted(run["name"] for run in told.runs("sent", where=ALL))
        assert names == ["by variables", "chat gpt-4o-mini"]


@at_night
def test_late_truth(told: CollectorProcess, tmp_path: Path) -> None:
    """The command of the page on runs lists ground truth next to the prediction."""
    page = "docs/how-to/runs.md"
    program = next(one for one in BLOCKS if one.page == page and ".actual(14.0" in one.text)
    (tmp_path / "truth.py").write_text(program.text)
    with at(told, tmp_path) as shell:
        shell.type("python truth.py")
        type_page(page, shell)
        assert shell.shown.splitlines()[-1].split()[:2] == ["no", "yes"]


@at_night
def test_services(told: CollectorProcess, tmp_path: Path) -> None:
    """The command of the page on services starts the program above it."""
    page = "docs/how-to/services.md"
    program = next(one for one in BLOCKS if (one.page, one.language) == (page, "python"))
    (tmp_path / "shop.py").write_text(program.text)
    with at(told, tmp_path) as shell:
        shell.environment = {**shell.environment, "UVICORN_PORT": "0"}
        type_page(page, shell)


@at_night
def test_keys(tmp_path: Path) -> None:
    """Of the two keys of the page, the program's can send and the other one can read."""
    page = "docs/how-to/keys-and-projects.md"
    make, use, revoke, [changes] = (block.statements for block in SHELL if block.page == page)
    (tmp_path / "shop.py").write_text(STOCK)
    with running(tmp_path / "otel-ml-data") as served, at(served, tmp_path) as shell:
        shell.environment = {**shell.environment, "OTEL_EXPORTER_OTLP_ENDPOINT": served.endpoint}
        for statement in make:
            shell.type(statement)
        [ingest] = KEY.findall(shell.shown)
        admin = shell.environment["OTEL_ML_API_KEY"]
        shell.replaced |= {
            "http://localhost:4318": served.endpoint,
            "Bearer%20omk_...": f"Bearer%20{ingest}",
            "x-api-key: omk_...": f"x-api-key: {admin}",
            "034fbd8d6b81a596": ingest.removeprefix("omk_")[:16],
        }
        send, read = use
        shell.type(send)
        assert '"shop"' in shell.type(read)
        for statement in revoke:
            shell.type(statement)
        assert "401" in shell.type(f"{send} 2>&1")
        assert "shop-api" in shell.type(changes)


KEY: Final = re.compile(r"omk_[0-9a-f]{16}\S+")
CONSOLE: Final = [one for one in BLOCKS if one.language == "console"]
SETTINGS: Final = 'htttp = "127.0.0.1:4318"\n\nlog_level = "loud"\n'


@at_night
@pytest.mark.parametrize("block", CONSOLE, ids=lambda block: f"{block.page}: {block.text[:20]}")
def test_what_is_answered(block: Block, tmp_path: Path) -> None:
    """The console outputs in the docs equal the real outputs."""
    command, answer = block.text.removeprefix("$ ").split("\n", 1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "otel-ml.toml").write_text(SETTINGS if "check" in command else "")
    with running(tmp_path / "otel-ml-data") as served, at(served, tmp_path) as shell:
        shell.type("otel-ml keys add --scope admin --project '*'")
        others = {name: text for name, text in shell.environment.items() if "OTEL" not in name}
        if "doctor" in command:
            others |= {"OTEL_ML_API_KEY": "omk_wrong", "OTEL_ML_PROJCT": "shop"}
        shell.environment, shell.folder = others, elsewhere
        port, grpc_port = (one.rpartition(":")[2] for one in (served.endpoint, served.grpc))
        command = command.replace(":4318", f":{port} --grpc localhost:{grpc_port}")
        said = shell.type(f"({command}) 2>&1 || true")
    said = said.replace(port, "4318").replace(grpc_port, "4317")
    assert without_versions(said) == without_versions(answer)


def without_versions(text: str) -> str:
    return re.sub(r"\b\d+\.\d+[\w.]*", "N", text)


def test_inline_commands_exist() -> None:
    """Each inline command exists: as an `otel-ml` command, a make target or a module."""
    usage = subprocess.run(
        [Path(sys.executable).parent / "otel-ml", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    unknown = []
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        for command in INLINE.findall(FENCE.sub("", page.read_text())):
            first, *words = shlex.split(command)
            if first == "make":
                is_known = set(words[:1]) <= targets
            elif first == "python":
                is_known = find_spec(words[1]) is not None
            else:
                is_known = re.search(rf"\b{words[0]}\b", usage.stdout) is not None
            unknown += [] if is_known else [(page.name, command)]
    assert unknown == []


def test_each_reason_has_its_command() -> None:
    """Each exception in `NOT_TYPED` matches a command in the docs."""
    text = "\n".join(block.text for block in SHELL)
    assert [key for key in NOT_TYPED if not re.search(f"^{key}", text, re.MULTILINE)] == []


def test_every_block_has_a_language() -> None:
    """Each block has a language, so that it is clear whether it is run."""
    assert sorted({block.page for block in BLOCKS if not block.language}) == []


def test_installs_are_found() -> None:
    """Install commands are found in sentences and in blocks, for all package managers."""
    assert {
        ("docs/how-to/agents.md", "pip install ."),
        ("docs/how-to/records.md", "npm install @grpc/grpc-js @grpc/proto-loader"),
        ("CONTRIBUTING.md", "pipx install pre-commit"),
    } <= set(INSTALLS)
    assert ("README.md", "pip install '.[collector]'") not in INSTALLS  # its block is run whole


def test_no_install_from_an_index() -> None:
    """No page installs this project by name, because it is not on any index."""
    lines = [line for page in PAGES for line in INSTALL.findall(page.read_text())]
    assert [line for line in lines if "otel-ml" in shlex.split(line)] == []
