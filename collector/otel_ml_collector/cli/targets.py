"""The command of targets: how good predictions were once their truth came."""

from collections.abc import Mapping
from typing import Any, Final

import click

from otel_ml_collector.cli.failure import HELP
from otel_ml_collector.cli.output import Layout, with_form, write_rows
from otel_ml_collector.cli.place import PlaceOptions, check_project, with_place, with_project
from otel_ml_collector.errors import BadSetting

_TARGETS: Final = ("name", "model", "kind", "prediction", "positive", "probability", "version")
# The options of a target's fields; `kind` says how records are shown.
_SAVED: Final = {
    "model": "model",
    "prediction": "prediction",
    "kind": "sort",
    "positive": "positive",
    "probability": "probability",
}
_FIGURES: Final = ("figure", "value", "low", "high", "runs", "early", "start_time")


@click.command(epilog=HELP)
@click.argument("name", metavar="[TARGET]", required=False)
@click.option("--last", type=click.Choice(["24h", "7d", "30d", "60d"]), default="30d")
@click.option("--where", metavar="EXPR", default="", help="of these runs, such as a slice")
@click.option("--points", is_flag=True, help="by the time of the prediction")
@click.option("--model", metavar="MODEL", help="save the target: of this model's runs")
@click.option("--prediction", metavar="PATH", help="save it: such as outputs.label")
@click.option("--kind", "sort", type=click.Choice(["class", "number", "ranking"]), help="save it")
@click.option("--positive", metavar="CLASS", help="save it: the class that is looked for")
@click.option("--probability", metavar="PATH", help="save it: such as outputs.p")
@click.option("--delete", is_flag=True, help="delete the target; its truths stay")
@with_project
@with_place
@with_form
def targets(
    asked: PlaceOptions,
    project: str,
    name: str | None,
    form: Layout,
    **options: Any,
) -> int:
    """Say how good the predictions of a target were, or list targets, or save one.

    With --model the target is saved; with a name alone its figures are shown, each with its
    interval of 95 %.
    """
    wanted = {
        field: options[option] for field, option in _SAVED.items() if options[option] is not None
    }
    if (wanted or options["delete"]) and not name:
        raise BadSetting("Expected the name of the target")
    if wanted and "model" not in wanted:
        raise BadSetting("A target is saved with --model, of whose runs it is")
    with asked.open() as place:
        api = place.api()
        path = ("projects", project, "targets")
        with check_project(api, project) as check:
            if name and (wanted or options["delete"]):
                from otel_ml.reader.api import Question  # heavy

                method = "DELETE" if options["delete"] else "PUT"
                body = None if options["delete"] else wanted
                answer = api.ask(Question((*path, name), method=method, body=body))
                return write_rows([answer], answer, form, _TARGETS)
            if name is None:
                answer = api.get(*path)
                rows = answer["targets"] + [
                    {"name": truth, "prediction": "outputs"} for truth in answer["truths"]
                ]
                check(rows)
                return write_rows(rows, answer, form, _TARGETS)
            where = options["where"] or None
            answer = api.get(*path, name, last=options["last"], where=where)
        return write_rows(_list_figures(answer, options["points"]), answer, form, _FIGURES)


def _list_figures(answer: Mapping[str, Any], points: bool) -> list[dict[str, Any]]:
    """List the figures of all runs, or of each bucket, behind how many truths are here.

    The last is the accuracy to expect: of runs that wait for their truth, or of the bucket.
    """
    rows = []
    for part in answer["points"] if points else [answer]:
        coverage = part["coverage"]
        whole = coverage if isinstance(coverage, dict) else {"value": coverage, "n": part["runs"]}
        figures = [{"name": "coverage", "value": whole}, *part["figures"]]
        if part.get("estimate") is not None:
            figures.append({"name": "estimate", "value": {"value": part["estimate"]}})
        rows += [
            {
                "figure": figure["name"],
                "value": value.get("value"),
                "low": value.get("low"),
                "high": value.get("high"),
                "runs": value.get("n", 0),
                "early": part.get("early", ""),
                "start_time": part["start_time"] if points else answer["start"],
            }
            for figure in figures
            for value in (figure["value"] or {},)
        ]
    return rows
