"""Runs the demo: records real models, prints a report, and serves the pages until Ctrl-C."""

import argparse
import io
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console

from examples.demo.checks import find_missing
from examples.demo.edit import copy_service, edit_service
from examples.demo.errors import DemoError
from examples.demo.folder import hold
from examples.demo.language_model import MODEL, serve_model
from examples.demo.load import Request, count_by_model, make_requests, send
from examples.demo.processes import (
    Process,
    start_collector,
    start_evaluation,
    start_plain,
    start_script,
    start_service,
)
from examples.demo.progress import Steps
from examples.demo.questions import write_questions
from examples.demo.records import (
    FORMS,
    Api,
    Records,
    read_records,
    wait_for_releases,
    wait_for_runs,
)
from examples.demo.report import print_report

_FOLDER: Final = Path(__file__).parents[2] / ".demo"
_WIDTH: Final = 80  # of tables when the output is not a terminal
_SCRIPTS: Final = ("train", "tune", "agent", "forms")
_PLAIN: Final = "flowers"  # a script that does not import otel-ml
_INTERRUPTED: Final = 130
_WORSE: Final = 1  # the exit status of `otel-ml evaluate` if a judge found the new version worse
_DOCS: Final = "docs-search"
_TUMOURS: Final = "breast-cancer"
# A device omits the texture on the last day until 18:00. The rule fires once and resolves.
_RULE: Final = {
    "where": 'model == "screen"',
    "when": 'surely(missing(inputs.measurements["mean texture"]) > 0.1)',
    "window": "6h",
    "keep": "0s",
    "min_runs": 20,
    "severity": "page",
}
# This judge asks the demo's local language model about each answer of the agent.
_JUDGE: Final = {
    "instruction": "Does the answer say what to write or do?\n\nAnswer: {{outputs}}",
    "model": MODEL,
    "connection": "demo",
    "where": 'model == "assistant"',
    "calls_per_minute": 1_000,
    "dollars_per_day": 1,
    "is_on": True,
}
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo",
        description="Record calls of real models, print a report, and serve the pages.",
    )
    parser.add_argument("--once", action="store_true", help="check the records and exit")
    parser.add_argument(
        "--folder", type=Path, default=_FOLDER, help="folder for the demo's files [.demo]"
    )
    flags = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII log cannot show every character
    width = None if sys.stdout.isatty() else _WIDTH
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    for number in _STOP_SIGNALS:
        signal.signal(number, _interrupt)
    try:
        return _run(console, flags.folder.resolve(), once=flags.once)
    except DemoError as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("The demo was stopped before it finished", file=sys.stderr)
        return _INTERRUPTED


def _run(console: Console, folder: Path, *, once: bool) -> int:
    with hold(folder), serve_model() as model, start_collector(folder, model) as collector:
        with Steps(console) as steps:
            _make_records(steps, folder, collector)
        records = read_records(Api(collector.address))
        print_report(console, records)
        console.print(f"Pages: {collector.address}/ reachable only while the demo serves")
        console.print(f"API: {collector.address}/api/v1")
        missing: list[str] = []
        if once:
            missing = find_missing(records)
            for line in missing:
                console.print(f"Missing: {line}")
        else:
            console.print("Ctrl-C ends the demo.")
        _print_verdict(console, collector.address, records)
        if not once:
            _wait_for_ctrl_c(collector)
    _print_farewell(console, folder)
    return 1 if missing else 0


def _print_verdict(console: Console, address: str, records: Records) -> None:
    """Print for whom a new version is worse, and the address of its page."""
    for release in records.releases:
        for part in release["for_whom"][:1]:
            page = f"{address}/projects/{FORMS}/models/{release['model']}"
            console.print(f"\n{part['sentence']}.\n{page}", soft_wrap=True)


def _print_farewell(console: Console, folder: Path) -> None:
    """Print where the records are and the command that serves them again."""
    data_dir = _from_here(folder / "data")
    command = [_from_here(Path(sys.executable)), "-m", "otel_ml_collector", "serve"]
    ended = f"The demo has ended. Its records stay in {data_dir} until the next demo."
    console.print(ended, soft_wrap=True)
    console.print("To serve the records and pages again, run:")
    console.print(f"  {shlex.join([*command, '--data-dir', data_dir])}", soft_wrap=True)


def _from_here(path: Path) -> str:
    """Return a path relative to the current folder if it is inside, else unchanged."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _make_records(steps: Steps, folder: Path, collector: Process) -> None:
    """Create all records: trainings, conversations, and requests before and after the edit."""
    with steps.step("Start the collector"):
        collector.wait_ready()
    api = Api(collector.address)
    api.put("projects", _DOCS, "rubric-judges", "actionable", body=_JUDGE)
    copy_service(folder)
    with steps.step("Train classifiers, tune the search, talk to the agent"), ExitStack() as stack:
        scripts = [start_script(folder, collector.address, module) for module in _SCRIPTS]
        scripts.append(start_plain(folder, collector.address, _PLAIN))
        for script in scripts:
            stack.enter_context(script)
        for script in scripts:
            script.wait_end()
    api.put("projects", _TUMOURS, "alerts", "texture missing", body=_RULE)
    requests = make_requests()
    write_questions(folder / "questions.jsonl")
    _serve(steps, folder, collector, requests, "unchanged")
    _evaluate(steps, folder, collector, "first sentence")
    edit_service(folder)
    _serve(steps, folder, collector, requests, "with an edited answer()")
    _evaluate(steps, folder, collector, "closest sentence", baseline="reply:v1")
    with steps.step("Wait for all records"):
        expected = Counter({model: 2 * count for model, count in count_by_model(requests).items()})
        wait_for_runs(api, expected)
        wait_for_releases(api)


def _serve(
    steps: Steps, folder: Path, collector: Process, requests: Sequence[Request], state: str
) -> None:
    """Run the copy of the service and send it all requests. It flushes its runs when it stops."""
    with start_service(folder, collector.address) as service:
        with steps.step(f"Start the service {state}"):
            service.wait_ready()
        with steps.step("Send requests to the service", total=len(requests)) as advance:
            send(service.address, requests, advance)


def _evaluate(
    steps: Steps, folder: Path, collector: Process, name: str, baseline: str = ""
) -> None:
    """Evaluate the copy of the service. With a baseline, exit status 1 (worse) is also accepted."""
    compared = f", compared with {baseline}" if baseline else ""
    with (
        steps.step(f"Evaluate the service: {name}{compared}"),
        start_evaluation(folder, collector.address, name, baseline) as evaluation,
    ):
        evaluation.wait_end(*((_WORSE,) if baseline else ()))


def _wait_for_ctrl_c(collector: Process) -> None:
    """Wait for Ctrl-C, which ends the demo normally.

    Raises:
        DemoError: The collector exited before that.
    """
    try:
        collector.wait_end()
    except KeyboardInterrupt:
        return
    raise DemoError("The collector exited")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Stop the demo. Later signals are ignored, so that it can stop its processes."""
    for stop_signal in _STOP_SIGNALS:
        signal.signal(stop_signal, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
