"""The commands of queues: what waits for people is listed, shown and made; the page works it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from otel_ml_collector.cli.failure import HELP
from otel_ml_collector.cli.output import Layout, with_form, write_rows
from otel_ml_collector.cli.place import PlaceOptions, check_project, with_place, with_project
from otel_ml_collector.errors import BadSetting

_COLUMNS: Final = ("name", "question", "judge", "people", "runs", "done", "left", "where")
_CHOICES: Final = ("key", "answer", "passed", "note", "is_answer")
_PASSED: Final[Mapping[str, bool | None]] = {"pass": True, "fail": False, "": None}
# Of a label that is no answer, such as `Cannot say`: the run waits for somebody else.
_NO_ANSWER: Final = "none"
_SCALE_PARTS: Final = (2, 3)
_MOST_PEOPLE: Final = 100
_MOST_RUNS: Final = 10_000


@click.group()
def queue() -> None:
    """List, show and make queues of runs that people judge; their page is where they are worked."""


@queue.command("list", epilog=HELP)
@with_place
@with_project
@with_form
def list_queues(asked: PlaceOptions, project: str, *, form: Layout) -> int:
    """List queues by name, and how far each is."""
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
    """Show what may be said in a queue, by the keys of its page; --json has all of it."""
    with asked.open() as place, place.reader(project) as reader:
        found = reader.queue(name)
        if form.kind == "table":
            progress = found["progress"]
            click.echo(
                f"{name}: {found['question'] or found['judge']}, {progress['done']:,} of "
                f"{progress['runs']:,} runs done by {found['people']:,} each",
                err=True,
            )
        return write_rows(_list_choices(found), found, form, _CHOICES)


@queue.command("make", epilog=HELP)
@with_place
@with_project
@click.option("--judge", required=True, metavar="NAME", help="under which people's words are kept")
@click.option("--where", default="", metavar="EXPR", help="""such as 'last("7d")' [all runs]""")
@click.option("--question", default="", metavar="TEXT", help="what is asked about each run")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="WORD[=pass|fail|none]",
    help="a word to choose, in the order of the keys; none is no answer",
)
@click.option("--scale", metavar="LOW:HIGH[:PASSES]", help="numbers to choose, such as 1:5:4")
@click.option("--people", type=click.IntRange(1, _MOST_PEOPLE), default=1, help="a run [1]")
@click.option("--limit", type=click.IntRange(1, _MOST_RUNS), default=200, help="runs [200]")
@click.option("--order", type=click.Choice(("random", "disagreement")), default="random")
@click.option("--seed", type=click.IntRange(0), default=0, help="another draws other runs [0]")
@click.option("--open", "is_open", is_flag=True, help="show what others said before the answer")
@click.option("--dataset", default="", metavar="NAME", help="where answered runs may be saved")
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
    """Make a queue, or save it anew: what people said stays.

    Without --label and --scale people choose between Yes, which passes, and No.
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
    """List what may be said, by the keys 1 to 9."""
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
    """Read ``Yes=pass``.

    Raises:
        BadSetting: It is no label.
    """
    label, _, means = text.partition("=")
    if not label or (means != _NO_ANSWER and means not in _PASSED):
        raise BadSetting(f"Invalid label {text!r}: expected a word, then =pass, =fail or =none")
    return {"label": label, "passed": _PASSED.get(means), "is_answer": means != _NO_ANSWER}


def _read_scale(text: str) -> dict[str, int]:
    """Read ``1:5:4``.

    Raises:
        BadSetting: It is no scale.
    """
    parts = text.split(":")
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in _SCALE_PARTS:
        raise BadSetting(f"Invalid scale {text!r}: expected LOW:HIGH or LOW:HIGH:PASSES")
    return dict(zip(("low", "high", "passes_from"), numbers, strict=False))
