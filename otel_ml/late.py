"""The table of modules that are loaded at their first use, so that a program starts quickly.

A module that needs any of these names it twice, once for type checkers and once as it is loaded::

    if TYPE_CHECKING:
        from otel_ml.judges import pool
    else:
        pool = late("judges.pool")
"""

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Final

from otel_ml.loading import LOADING

WHY: Final[Mapping[str, str]] = {
    "artifact": "the first value that is logged pays for typed data: 20 ms",
    "experiments.backfill": "a program that judges no stored runs needs none of it",
    "experiments.experiment": "a program that evaluates nothing needs none of it",
    "experiments.replay": "a program that replays nothing needs none of it",
    "experiments.stored_results": "a program that reads no results back needs none of it",
    "experiments.dataset": "a program that evaluates nothing needs none of it",
    "data_quality": "a program that measures no table needs none of it",
    "default": "a program that names its client makes no other one",
    "export.destination": "what sends is loaded on the thread that sends: 70 ms",
    "export.documents": "loaded with the first provider",
    "export.encoder": "as what sends; where spans are spooled, with the first one",
    "export.spool.spool": "few spans are spooled",
    "genai.messages": "most streams are none of a model's",
    "genai.streams": "most functions return no stream of a model's",
    "genai.generative": "a function that calls no model needs none of it",
    "instrumentations": "few programs instrument other libraries",
    "judges.host_loop": "a client without inline judges needs none of it",
    "judges.judge": "a client without judges needs none of it",
    "judges.judged_call": "a client without judges needs none of it",
    "judges.loop": "loads asyncio, for async rubrics alone",
    "judges.pool": "a client without judges needs none of it",
    "profiles.profile": "a program without profiles needs none of it",
    "profiles.watch": "a program without profiles needs none of it",
    "provider": "the first span pays for what sends it",
    "reader.api": "a program that records reads nothing back",
    "records": "what says the truth pays for the declarations: 30 ms",
    "reader.errors": "a program that records reads nothing back",
    "reader.targets": "a program that records reads nothing back",
    "reader.reader": "a program that records reads nothing back",
    "targets": "a client that names nothing elsewhere needs none of it",
    "types": "values of JSON need no typed data",
    "types.walker": "values of JSON need no typed data",
    "versions.definition": "the first call pays for reading source: no part of start-up",
    "versions.weights": "loaded with the definition, which names model objects",
}


class _LateModule:
    """A stand-in for a module; the first look at a name in it loads the module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> object:
        module = LOADING.load(partial(import_module, f"otel_ml.{self._name}"))
        value = getattr(module, name)
        setattr(self, name, value)
        return value


def late(name: str) -> object:
    """Return the stand-in for a module of ours that is in the table.

    Args:
        name: Without the ``otel_ml.`` before it.
    """
    if name not in WHY:
        raise KeyError(f"Unknown module {name!r}: expected one of the table in otel_ml/late.py")
    return _LateModule(name)
