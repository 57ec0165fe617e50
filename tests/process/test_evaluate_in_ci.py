"""Runs the files and the workflow of the page "Evaluate in CI" unchanged."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]  # it carries no types

from tests.support.folders import ROOT
from tests.support.sampling import at_night

# What GitHub replaces in the workflow.
_CONTEXT: Final = {"${{ github.token }}": "t0ken", "${{ github.event.number }}": "7"}
PAGE = ROOT / "docs" / "how-to" / "evaluate-in-ci.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def shell(folder: Path, command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a step as a runner does, with the `otel-ml` of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    without_telemetry = {
        name: text for name, text in os.environ.items() if not name.startswith("OTEL_")
    }
    return subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=folder,
        env={**without_telemetry, "PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the files and commands of the page."""
    (tmp_path / "app.py").write_text(blocks("py")[0])
    for command in blocks("sh"):
        ended = shell(tmp_path, command)
        assert ended.returncode == 0, ended.stderr
    return tmp_path


class Comments:
    """A stand-in of GitHub's API that has the comments of one pull request.

    Attributes:
        bodies: Texts of the comments, in the order in which they were made.
        tokens: The tokens that were sent.
        address: Address of the API.
    """

    def __init__(self) -> None:
        self.bodies = ["Looks good to me."]
        self.tokens: set[str | None] = set()
        self.address = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """Return the status and the answer of a request, as GitHub documents them."""
        comments = "/repos/ann/shop/issues"
        if (method, path) == ("GET", f"{comments}/7/comments?per_page=100"):
            return 200, [{"id": at, "body": text} for at, text in enumerate(self.bodies)]
        text = json.loads(body)["body"]
        assert isinstance(text, str)
        if (method, path) == ("POST", f"{comments}/7/comments"):
            self.bodies.append(text)
            return 201, {"id": len(self.bodies) - 1}
        if method == "PATCH" and path.startswith(f"{comments}/comments/"):
            self.bodies[int(path.rpartition("/")[2])] = text
            return 200, {}
        return 404, {"message": "Not Found"}


@pytest.fixture
def comments() -> Iterator[Comments]:
    """The API of GitHub, at a free port."""
    api = Comments()

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline()
            if self.raw_requestline and self.parse_request():
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                api.tokens.add(self.headers.get("authorization"))
                status, answer = api.answer(self.command, self.path, body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        api.address = f"http://127.0.0.1:{server.server_port}"
        yield api
        server.shutdown()
        thread.join()


def run_workflow(folder: Path, api: str, programs: Path | None = None) -> tuple[list[str], str]:
    """Run the steps of the workflow for pull request 7; return the failed steps and the summary.

    Args:
        folder: The repository.
        api: Address of GitHub's API.
        programs: Programs of an empty environment to install into; None to skip the installation.
    """
    workflow: dict[str, Any] = yaml.safe_load(blocks("yaml")[0])
    summary = folder / "summary.md"
    failed: list[str] = []
    for step in workflow["jobs"]["evaluate"]["steps"]:
        is_due = not failed or step.get("if") == "always()"
        is_done = step["name"] == "install" and programs is None if "run" in step else True
        if is_due and not is_done:
            variables = {
                "GITHUB_STEP_SUMMARY": str(summary),
                "GITHUB_API_URL": api,
                "GITHUB_REPOSITORY": "ann/shop",
                **{name: _CONTEXT[text] for name, text in step.get("env", {}).items()},
            }
            if programs is not None:
                variables["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
            ended = shell(folder, step["run"], **variables)
            if ended.returncode:
                failed.append(f"{step['name']} {ended.returncode}: {ended.stderr.strip()}")
    return failed, summary.read_text()


@at_night
def test_nothing_changed(repository: Path, comments: Comments) -> None:
    """A pull request without changes passes, and its summary has the table."""
    failed, summary = run_workflow(repository, comments.address)
    assert failed == []
    assert "| exact | 100.0% " in summary


@at_night
def test_two_pushes(repository: Path, comments: Comments) -> None:
    """A regression is a comment with both outputs, which the push of its repair updates."""
    app = repository / "app.py"
    good = app.read_text()
    app.write_text(good.replace("sum(", "-sum("))
    failed, summary = run_workflow(repository, comments.address)
    assert failed == ["evaluate 1: otel-ml: --fail-if worse"]
    lines = summary.splitlines()
    assert re.fullmatch(
        r"\*\*answer on qa\*\*: worse than answer on qa \(baseline\.jsonl, .* UTC\): exact: "
        r"0 % pass, 100 % before: 100 pts worse \(88 to 100 pts; 40 items\)",
        lines[0],
    )
    assert "| exact | 0.0% (0.0% to 8.8%) | 40 | 100.0% (91.2% to 100.0%) | -100.0% " in summary
    assert '| sum-1: \\{"question":"1+1"\\} | exact pass → fail | -2 | 2 |' in lines
    assert summary.count("| sum-") == 5
    assert lines[-1] == "and 35 more"
    first, comment = comments.bodies
    assert comment == f"<!-- otel-ml evaluate -->\n{summary}"
    file = (repository / "report.html").read_text()
    assert "Worse than" in file
    assert "127.0.0.1" not in file + summary
    assert file.count('class="diff') == 25

    app.write_text(good)
    failed, summary = run_workflow(repository, comments.address)
    assert failed == []
    assert len(comments.bodies) == 2
    assert comments.bodies[0] == first
    assert "100.0% (91.2% to 100.0%) | +0.0%" in comments.bodies[1]
    assert "sum-" not in comments.bodies[1]
    assert comments.tokens == {"Bearer t0ken"}
    assert "Worse than" not in (repository / "report.html").read_text()


@at_night
def test_the_tests_of_the_page_run(repository: Path) -> None:
    """The tests of the page are collected by pytest, and pass."""
    (repository / "test_app.py").write_text(blocks("py")[1])
    ended = shell(repository, f"{sys.executable} -m pytest -p no:cacheprovider -q")
    assert (ended.returncode, "121 passed" in ended.stdout) == (0, True), ended.stdout
