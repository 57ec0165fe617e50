"""``otel-ml storage``: says what the store takes on disk, and frees what was deleted."""

import argparse
from typing import TYPE_CHECKING, Any, Final

from otel_ml_collector.cli.failure import DONE
from otel_ml_collector.cli.reading import add_command, add_format, columns_of, open_api

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_ASK_S: Final = 60.0
_PURGE_S: Final = 3_600.0  # all files that hold deleted rows are written anew


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    description = "Says what projects take on disk."
    parser = add_command(commands, "storage", "show and free disk space", description, run)
    parser.add_argument(
        "--purge", action="store_true", help="free now what was deleted; needs the scope admin"
    )
    parser.add_argument(
        "--free-days", type=int, metavar="N", help="tell what deleting all older ones would free"
    )
    add_format(parser)


def run(flags: argparse.Namespace) -> int:
    """Show it, or purge.

    Raises:
        BadSetting: A flag is wrong.
        CommandFailed: The collector has no answer.
    """
    api = open_api(flags, _PURGE_S if flags.purge else _ASK_S)
    from otel_ml.reader.api import Question  # heavy
    from otel_ml_collector.cli.asking import asking
    from otel_ml_collector.cli.output import write_rows

    with asking():
        if flags.purge:
            answer = api.ask(Question(("storage", "purge"), method="POST"))
            write_rows([answer], answer, flags.format, columns_of(flags) or list(answer))
            return DONE
        answer = api.get("storage", days=flags.free_days)
        rows = [_row(one) for one in answer["projects"]]
        usual = list(rows[0]) if rows else ["project"]
        return write_rows(rows, answer, flags.format, columns_of(flags) or usual)


def _row(told: dict[str, Any]) -> dict[str, Any]:
    """Lay one project out flat: bytes in all and by kind."""
    kinds = {f"{kind}_bytes": share["bytes"] for kind, share in told["kinds"].items()}
    freed = {
        name: told[name] for name in ("freed_records", "freed_payloads") if told[name] is not None
    }
    kept = {name: told[name] for name in ("record_days", "payload_days")}
    return {"project": told["project"], "bytes": told["bytes"], **kinds, **kept, **freed}
