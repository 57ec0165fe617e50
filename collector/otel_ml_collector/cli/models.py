"""``otel-ml models``: lists the models of a project, or the versions of one."""

import argparse
from typing import TYPE_CHECKING, Final

from otel_ml_collector.cli.reading import (
    add_command,
    add_filter,
    add_format,
    add_project,
    columns_of,
    open_api,
    project_of,
)
from otel_ml_collector.errors import BadSetting

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_MODELS: Final = (
    "model",
    "kind",
    "runs",
    "errors",
    "versions",
    "latest_version",
    "last_start_time",
)
_VERSIONS: Final = (
    *("version", "digest", "runs", "errors", "p50_ms", "p95_ms", "judges", "metrics", "tags"),
    "first_seen_time",
)
_COUNTED: Final = ("model", "runs", "errors", "error_share", "p50_ms", "p90_ms", "p99_ms", "cost")
_MANY: Final = 50


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    description = (
        "Lists models, the one that ran last first, or the versions of one, newest first. With "
        "--where, --start or --end it counts the runs that match: of the last 24 hours, or of "
        "whole days from --start on, at most 190."
    )
    parser = add_command(commands, "models", "list models and versions", description, run)
    add_project(parser)
    add_filter(parser)
    parser.add_argument("--model", metavar="NAME", help="list the versions of this model")
    add_format(parser)


def run(flags: argparse.Namespace) -> int:
    """List them.

    Raises:
        BadSetting: A flag is wrong.
        CommandFailed: They cannot be read.
    """
    within = {name: getattr(flags, name) or None for name in ("where", "start", "end")}
    if flags.model and any(within.values()):
        raise BadSetting("--model lists versions: expected no --where, --start or --end beside it")
    project = project_of(flags)
    path = ["projects", project, "models"]
    api = open_api(flags)
    from otel_ml_collector.cli.asking import asking  # heavy
    from otel_ml_collector.cli.output import write_rows

    with asking():
        if any(within.values()):
            asked = {**within, "bucket": "1d" if flags.start else None, "groups": _MANY}
            answer = api.get("projects", project, "stats", **asked, group="model")
            rows = [{"model": one["group"], **one["total"]} for one in answer["groups"]]
            return write_rows(rows, answer, flags.format, columns_of(flags) or _COUNTED)
        if not flags.model:
            answer = api.get(*path)
            return write_rows(answer["models"], answer, flags.format, columns_of(flags) or _MODELS)
        answer = api.get(*path, flags.model, "versions")
        rows = answer["versions"]
        if flags.format == "table":
            rows = [{**one, "judges": _scores(one["judges"])} for one in rows]
        return write_rows(rows, answer, flags.format, columns_of(flags) or _VERSIONS)


def _scores(judges: list[dict[str, object]]) -> dict[str, object]:
    return {str(one["judge"]): one["mean_score"] for one in judges}
