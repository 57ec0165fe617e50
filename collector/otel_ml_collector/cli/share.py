"""The command share: writes a trace, experiment, comparison or session as one HTML file."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from otel_ml_collector.cli.failure import DONE, HELP, NOT_FOUND, USAGE, CommandFailed
from otel_ml_collector.cli.output import open_file
from otel_ml_collector.cli.place import NO_PROJECT, PlaceOptions, with_place
from otel_ml_collector.errors import BadSetting

if TYPE_CHECKING:
    from otel_ml.reader.api import Api

_WHOLE_RUN_ID: Final = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")
_FILE_NAME_CHARS: Final = 60
_FILE_TIMEOUT_S: Final = 300.0


@click.command(epilog=HELP)
@with_place
@click.option(
    "--project",
    metavar="P",
    envvar="OTEL_ML_PROJECT",
    help="Project to use (default: $OTEL_ML_PROJECT; for a run, its own)",
)
@click.option("--experiment", metavar="ID", help="Write an experiment, by its run ID")
@click.option(
    "--compare",
    "compared",
    nargs=2,
    metavar="A B",
    help="Write a comparison of two runs, versions such as answer:v2, or experiments",
)
@click.option("--session", metavar="ID", help="Write a session")
@click.option(
    "--link", is_flag=True, help="Add links to the pages of the collector (default: no links)"
)
@click.option("--redact", is_flag=True, help="Remove what the setting judge_redact names")
@click.option("--output", metavar="FILE", help="File to write (default: a name like run-1a2b.html)")
@click.argument("run", metavar="[RUN|TRACE]", required=False)
def share(
    asked: PlaceOptions,
    project: str | None,
    *,
    link: bool,
    redact: bool,
    output: str | None,
    **subject: Any,
) -> int:
    """Write a trace, experiment, comparison or session as one HTML file.

    The file opens without a server and makes no requests. RUN is a run ID; TRACE is a trace ID, or
    your own key of a trace. Everyone who gets the file can read the inputs and outputs in it.
    """
    named = {kind: name for kind, name in subject.items() if name}
    if len(named) != 1:
        raise CommandFailed("Name one RUN or TRACE, --experiment, --compare or --session", USAGE)
    ((kind, value),) = named.items()
    if project is None and kind != "run":
        raise BadSetting(NO_PROJECT)
    with asked.open() as place:
        api = place.api(_FILE_TIMEOUT_S)
        options = {"link": link or None, "redact": redact or None}
        name, content = fetch_file(api, project or "", kind, value, options)
    target = Path(output or name)
    with open_file(target) as file:
        file.write(content)
    sys.stdout.write(f"{target}: {len(content) / 1000:,.0f} kB\n")
    return DONE


def write_shared(
    place: tuple[str | None, str | None],
    project: str,
    subject: tuple[str, Any],
    target: str,
    options: Mapping[str, object] | None = None,
) -> None:
    """Get a file from the collector and write it, for another command.

    Args:
        place: Address of the collector and API key; None for those of the environment.
        project: The project.
        subject: What the file shows and its ID, as for `fetch_file`.
        target: The file to write.
        options: Further parameters of the request.

    Raises:
        CommandFailed: The collector does not have it, or the file cannot be written.
    """
    from otel_ml.reader.api import Api  # takes 0.1 s
    from otel_ml.reader.errors import ReaderError

    api = Api(*place, _FILE_TIMEOUT_S, program="command")
    try:
        _, content = fetch_file(api, project, *subject, options or {})
    except ReaderError as error:
        raise CommandFailed(str(error), USAGE) from error
    with open_file(Path(target)) as file:
        file.write(content)


def fetch_file(
    api: "Api", project: str, kind: str, value: Any, options: Mapping[str, object]
) -> tuple[str, bytes]:
    """Get a file from the collector.

    Args:
        api: The collector.
        project: The project. For a run, the project of the run is used.
        kind: What the file shows: `run`, `experiment`, `compared` or `session`.
        value: Its ID; for a comparison the IDs of both sides, the baseline first.
        options: Further parameters of the request; None leaves one out.

    Returns:
        A name for the file, and its content.

    Raises:
        CommandFailed: There is no such trace.
        ReaderError: There is no such thing, or the collector does not answer.
    """
    from otel_ml.reader.api import Question  # takes 0.1 s

    parameters = dict(options)
    if kind == "compared":
        path, label = ["compare"], "-vs-".join(value)
        parameters |= {"of": [*value], "baseline": value[0]}
    elif kind == "run":
        project, run_id = _find_run(api, value)
        path, label = ["runs", run_id], f"run-{run_id.rpartition('-')[2]}"
    else:
        path, label = [f"{kind}s", value], f"{kind}-{value.rpartition('-')[2]}"
    name = _NOT_IN_A_NAME.sub("-", label)[:_FILE_NAME_CHARS].strip("-.") or "otel-ml"
    question = Question(("projects", project, *path, "file"), parameters)
    return f"{name}.html", b"".join(api.stream(question))


def _find_run(api: "Api", name: str) -> tuple[str, str]:
    """Find the project and the ID of a run, or of the first run of a trace."""
    if _WHOLE_RUN_ID.fullmatch(name):
        found = api.get("runs", name)
        return found["project"], name
    runs = api.get("traces", name)["runs"]
    if not runs:
        raise CommandFailed(f"There is no trace {name!r}", NOT_FOUND)
    known = {run["run_id"] for run in runs}
    top = next((run for run in runs if run["parent_run_id"] not in known), runs[0])
    return top["project"], top["run_id"]
