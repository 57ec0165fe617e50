"""The commands ``otel-ml queue ...``: list, show and create labelling queues."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from otel_ml.counts import write_count
from otel_ml_collector.cli.failure import HELP
from otel_ml_collector.cli.output import Layout, with_form, write_rows
from otel_ml_collector.cli.place import PlaceOptions, check_project, with_place, with_project
from otel_ml_collector.errors import BadSetting

_COLUMNS: Final = ("name", "question", "judge", "people", "runs", "done", "left", "where")
_CHOICES: Final = ("key", "answer", "passed", "note", "is_answer")
_PASSED: Final[Mapping[str, bool | None]] = {"pass": True, "fail": False, "": None}
# Marks a label such as `Cannot say`: it does not count, and another reviewer must answer.
_NO_ANSWER: Final = "none"
_SCALE_PARTS: Final = (2, 3)
_MOST_PEOPLE: Final = 100
_MOST_QUEUED: Final = 10_000


@click.group()
def queue() -> None:
    """List, show and create labelling queues: runs that wait for the answers of reviewers.

    Reviewers answer on the queue's page in the browser.
    """


@queue.command("list", epilog=HELP)
@with_place
@with_project
@with_form
def list_queues(asked: PlaceOptions, project: str, *, form: Layout) -> int:
    """List the labelling queues of a project by name, with their progress."""
    with asked.open() as place, place.reader(project) as reader:
        queues = reader.queues()
        with check_project(place.api(), project) as check:
            check(queues)
        rows = [{**item, **item["progress"]} for item in queues]
        return write_rows(rows, {"queues": queues}, form, _COLUMNS)


@queue.command("show", epilog=HELP)
@with_place
@with_project
@click.argument("name")
@with_form
def show_queue(asked: PlaceOptions, project: str, *, name: str, form: Layout) -> int:
    """Show the answers that reviewers can choose, with their keyboard shortcuts.

    --json prints the whole queue.
    """
    with asked.open() as place, place.reader(project) as reader:
        found = reader.queue(name)
        if form.kind == "table":
            progress = found["progress"]
            click.echo(
                f"{name}: {found['question'] or found['judge']}, {progress['done']:,} of "
                f"{write_count(progress['runs'], 'run')} done "
                f"({write_count(found['people'], 'reviewer')} per run)",
                err=True,
            )
        return write_rows(_list_choices(found), found, form, _CHOICES)


@queue.command("make", epilog=HELP)
@with_place
@with_project
@click.option(
    "--judge", required=True, metavar="NAME", help="Name under which the answers are stored"
)
@click.option(
    "--where",
    default="",
    metavar="EXPR",
    help="""Runs to label: a filter such as 'last("7d")' (default: all runs)""",
)
@click.option("--question", default="", metavar="TEXT", help="Question about each run")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="WORD[=pass|fail|none]",
    help="Answer that reviewers can choose, such as Yes=pass or No=fail. An answer with =none, "
    "such as 'Cannot say=none', does not count. Repeat the option for each answer, in the order of "
    "the keyboard shortcuts",
)
@click.option(
    "--scale",
    metavar="LOW:HIGH[:PASSES]",
    help="Numbers that reviewers can choose, instead of labels. With 1:5:4, they choose from 1 to "
    "5, and a run passes if it gets 4 or 5",
)
@click.option(
    "--people", type=click.IntRange(1, _MOST_PEOPLE), default=1, help="Reviewers per run [1]"
)
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST_QUEUED),
    default=200,
    help="Maximum number of runs to label [200]",
)
@click.option(
    "--order",
    type=click.Choice(("random", "disagreement")),
    default="random",
    help="Which runs to label first: a random sample (default), or those that judges disagree on",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    help="Seed of the random sample. A different seed selects different runs [0]",
)
@click.option(
    "--open",
    "is_open",
    is_flag=True,
    help="Show reviewers the answers of others before they answer",
)
@click.option(
    "--dataset", default="", metavar="NAME", help="Data set to which reviewers can save runs"
)
@click.argument("name")
@with_form
def make_queue(
    asked: PlaceOptions,
    project: str,
    *,
    name: str,
    labels: Sequence[str],
    scale: str | None,
    is_open: bool,
    form: Layout,
    **wanted: Any,
) -> int:
    """Create the labelling queue NAME, or change it. Earlier answers are kept.

    Without --label and --scale, reviewers choose between Yes (passes) and No (fails).
    """
    from otel_ml.reader.api import Question  # heavy

    if not labels and scale is None:
        labels = ("Yes=pass", "No=fail")
    body = {
        **wanted,
        "labels": [_read_label(text) for text in labels],
        "scale": None if scale is None else _read_scale(scale),
        "hidden": not is_open,
    }
    with asked.open() as place:
        path = ("projects", project, "queues", name)
        made = place.api().ask(Question(path, method="PUT", body=body))
        return write_rows(_list_choices(made), made, form, _CHOICES)


def _list_choices(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the answers that reviewers can choose, with the keys 1 to 9."""
    if facts["scale"] is None:
        return [
            {"key": str(place), "answer": label["label"], **label}
            for place, label in enumerate(facts["labels"], 1)
        ]
    low, high, least = (facts["scale"][name] for name in ("low", "high", "passes_from"))
    return [
        {
            "key": str(place),
            "answer": number,
            "passed": None if least is None else number >= least,
            "note": "",
            "is_answer": True,
        }
        for place, number in enumerate(range(low, high + 1), 1)
    ]


def _read_label(text: str) -> dict[str, Any]:
    """Parse a label such as ``Yes=pass``.

    Raises:
        BadSetting: The text is not a label.
    """
    label, _, means = text.partition("=")
    if not label or (means != _NO_ANSWER and means not in _PASSED):
        raise BadSetting(
            f"Invalid label {text!r}: expected an answer, optionally with =pass, =fail or =none"
        )
    return {"label": label, "passed": _PASSED.get(means), "is_answer": means != _NO_ANSWER}


def _read_scale(text: str) -> dict[str, int]:
    """Parse a scale such as ``1:5`` or ``1:5:4``.

    Raises:
        BadSetting: The text is not a scale.
    """
    parts = text.split(":")
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in _SCALE_PARTS:
        raise BadSetting(f"Invalid scale {text!r}: expected LOW:HIGH or LOW:HIGH:PASSES")
    return dict(zip(("low", "high", "passes_from"), numbers, strict=False))
