"""The command ``otel-ml targets``: compare predictions with ground truth."""

from collections.abc import Mapping
from typing import Any, Final

import click

from otel_ml.counts import write_count
from otel_ml_collector.cli.failure import HELP
from otel_ml_collector.cli.output import Layout, with_form, write_rows
from otel_ml_collector.cli.place import PlaceOptions, check_project, with_place, with_project
from otel_ml_collector.errors import BadSetting

_TARGETS: Final = ("name", "model", "kind", "prediction", "positive", "probability", "version")
# Options that save a field of a prediction target, and their parameters. --kind is `sort`, because
# `kind` is the output format.
_SAVED: Final = {
    "model": "model",
    "prediction": "prediction",
    "kind": "sort",
    "positive": "positive",
    "probability": "probability",
}
# How many keys of ground truth belong to a run.
_MATCHES: Final = ("received", "matched", "waiting", "unmatched")
_KEYS_SHOWN: Final = 5
_FIGURES: Final = ("figure", "value", "low", "high", "runs", "early", "start_time")


@click.command(epilog=HELP)
@click.argument("name", metavar="[TARGET]", required=False)
@click.option(
    "--last",
    type=click.Choice(["24h", "7d", "30d", "60d"]),
    default="30d",
    help="Show the quality of the predictions of this period, until now [30d]",
)
@click.option("--where", metavar="EXPR", default="", help="Only runs that match this filter")
@click.option(
    "--points",
    is_flag=True,
    help="Show the quality over time. A prediction counts at the time when it was made",
)
@click.option(
    "--model",
    metavar="MODEL",
    help="Create or change TARGET: the model that makes the predictions",
)
@click.option(
    "--prediction",
    metavar="PATH",
    help="Field with the prediction, such as outputs.label; needs --model",
)
@click.option(
    "--kind",
    "sort",
    type=click.Choice(["class", "number", "ranking"]),
    help="What the model predicts: a class, a number or a ranking; needs --model",
)
@click.option(
    "--positive",
    metavar="CLASS",
    help="Class that counts as positive, such as yes; needs --model",
)
@click.option(
    "--probability",
    metavar="PATH",
    help="Field with the predicted probability, such as outputs.p; needs --model",
)
@click.option(
    "--delete", is_flag=True, help="Delete the prediction target; its ground truth is kept"
)
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
    """List or save prediction targets, or show how good the predictions were.

    A prediction target says which part of a model's output is compared with which ground truth.
    With TARGET alone, you see metrics such as accuracy, each with a 95 % confidence interval, and
    how much of the ground truth belongs to a run. With --model, you save the target.
    """
    wanted = {
        field: options[option] for field, option in _SAVED.items() if options[option] is not None
    }
    if (wanted or options["delete"]) and not name:
        raise BadSetting("No target given: expected the name of a prediction target")
    if wanted and "model" not in wanted:
        raise BadSetting("No model given: use --model to name the model of the prediction target")
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
        rows = _list_figures(answer, options["points"])
        if not options["points"]:
            matches = answer["matches"]
            rows += [{"figure": count, "value": matches[count]} for count in _MATCHES]
            if matches["unmatched"]:
                click.echo(_explain_unmatched(matches), err=True)
        return write_rows(rows, answer, form, _FIGURES)


def _explain_unmatched(matches: Mapping[str, Any]) -> str:
    """Write which keys of ground truth no run has, and which tags have such values."""
    keys = ", ".join(matches["unmatched_keys"][:_KEYS_SHOWN])
    tags = f". Such values are in the tag {' or '.join(matches['tags'])}" if matches["tags"] else ""
    return f"No run has the key of {write_count(matches['unmatched'], 'value')}: {keys}{tags}"


def _list_figures(answer: Mapping[str, Any], points: bool) -> list[dict[str, Any]]:
    """Return rows for a table: the coverage, each measure, and the expected accuracy if known.

    Coverage is the share of predictions with ground truth. The expected accuracy is an estimate
    for runs whose ground truth is missing, or for the bucket.

    Args:
        answer: The API's answer on a prediction target.
        points: Whether to return rows for each time bucket, instead of for the whole period.
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
