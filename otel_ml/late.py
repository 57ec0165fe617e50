"""Lazy imports: the table of modules that are loaded on first use, so that programs start fast.

A module that needs one of them names it twice, for type checkers and for run time::

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
    "artifact": "typed data takes 20 ms to load, needed for the first logged value",
    "capture.frame_text": "needed only for DataFrames, in the thread that sends",
    "experiments.backfill": "needed only to judge stored runs",
    "experiments.experiment": "needed only to evaluate",
    "experiments.replay": "needed only to replay",
    "experiments.stored_results": "needed only to read results back",
    "experiments.dataset": "needed only to evaluate",
    "data_quality": "needed only for data metrics",
    "default": "a program with a client of its own needs no default client",
    "export.destination": "takes 70 ms to load, in the thread that sends",
    "export.documents": "loaded with the first provider",
    "export.encoder": "loaded in the thread that sends, or with the first spooled span",
    "export.spool.spool": "needed only with a spool",
    "genai.messages": "needed only for streams of a model",
    "genai.streams": "needed only for functions that return a model's stream",
    "genai.generative": "needed only for generative calls",
    "imports.table_import": "needed only to import a table",
    "instrumentations": "needed only to instrument other libraries",
    "judges.host_loop": "needed only for inline judges",
    "judges.judge": "needed only with judges",
    "judges.judged_call": "needed only with judges",
    "judges.loop": "loads asyncio, needed only for async rubrics",
    "judges.pool": "needed only with judges",
    "libraries.instrument": "needed only to record models of other libraries",
    "libraries.table": "needed only to record models of other libraries",
    "pickling": "needed only when a traced function is pickled",
    "profiles.profile": "needed only with profiles",
    "profiles.checker": "needed only with profiles",
    "provider": "loaded with the first span",
    "reader.api": "needed only to read stored runs",
    "records": "takes 30 ms to load, needed only for ground truth",
    "reader.display": "needed only in notebooks",
    "reader.errors": "needed only to read stored runs",
    "reader.targets": "needed only to read stored runs",
    "reader.reader": "needed only to read stored runs",
    "statistics.projections": "needed only for embeddings, in the thread that sends",
    "targets": "needed only for runs or models outside the current run",
    "types": "JSON values need no typed data",
    "types.walker": "JSON values need no typed data",
    "versions.definition": "loaded with the first call, which reads source code",
    "versions.weights": "loaded with the definition, which names model objects",
}


class _LateModule:
    """A proxy for a module. Accessing an attribute imports the module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return late, (self._name,)

    def __getattr__(self, name: str) -> object:
        module = LOADING.load(partial(import_module, f"otel_ml.{self._name}"))
        value = getattr(module, name)
        setattr(self, name, value)
        return value


def late(name: str) -> object:
    """Return a placeholder for a module of otel-ml. It imports the module when it is first used.

    Use it for modules that are slow to import and that many programs do not need.

    Args:
        name: Module name without the ``otel_ml.`` prefix. It must be a key of `WHY`, the table of
            these modules.

    Raises:
        KeyError: The name is not in `WHY`.
    """
    if name not in WHY:
        raise KeyError(f"Unknown module {name!r}: expected one of the table in otel_ml/late.py")
    return _LateModule(name)
