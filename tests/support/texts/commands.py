"""The commands of ``otel-ml``, each with its arguments in the story."""

from collections.abc import Mapping
from typing import Final

COMMANDS: Final[Mapping[str, str]] = {
    "projects": "",
    "runs": "--project shop-desk --limit 4",
    "sessions": "--project shop-desk --limit 4",
    "models": "--project shop-desk",
    "metrics": "--project shop",
    "experiments": "--project shop",
    "compare": "reply:v1 reply:v2 --project shop-desk",
    "dataset list": "--project shop",
    "dataset show": "qa --project shop",
    "dataset coverage": "qa --project shop",
    "dataset diff": "qa:v1 qa:v1 --project shop",
    "alias": "answer --project shop",
    "variability": "reply --project shop-desk",
    "findings": "--project shop-desk",
    "release": "reply --project shop-desk",
    "slices": "--project houses --last 24h",
    "fields": "value --project houses",
    "targets": "price --project houses",
    "activity": "--project shop --limit 4",
    "alerts list": "--project shop",
    "alerts check": "slow --project shop",
    "alerts sent": "slow --project shop",
    "queue list": "--project shop",
    "queue show": "grounded --project shop",
    "judge list": "--project shop",
    "judge show": "grounded --project shop",
    "judge ready": "",
    "keys list": "",
    "find": "--project shop --who bigshot",
    "retention": "shop",
}
_WRITES: Final = "it changes the store or writes a file"
_MODEL: Final = "it calls a language model or a function"
_STARTS: Final = "it starts a program that does not end"
OTHER_COMMANDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            *("alerts mute", "backup", "baseline set", "dataset add", "dataset export"),
            *("dataset remove", "export", "import langfuse", "import mlflow", "import otlp-json"),
            *("import phoenix", "import table", "judge delete", "judge off", "judge on"),
            *("judge save", "keys add", "keys revoke", "queue make", "restore", "share"),
        ),
        _WRITES,
    ),
    **dict.fromkeys(
        (
            *("alerts test", "evaluate", "judge backfill", "judge check-ready", "judge score"),
            *("judge try", "replay"),
        ),
        _MODEL,
    ),
    **dict.fromkeys(("judge-worker", "serve"), _STARTS),
    "check": "it prints the settings of the machine",
    "doctor": "it looks at the machine: ports, variables, disks",
    "mcp call": "its answers are those of the API's tools, which have their own tests",
    "mcp tools": "it prints descriptions, not data",
    "open": "it opens a browser",
    "storage": "the bytes on disk depend on when the engine merges",
}
