"""Explains what makes up a function's version, for ``otel-ml doctor app.py:answer``."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any, Final

from otel_ml.functions import TracedFunction
from otel_ml.judges.judge import Judge
from otel_ml.redaction import Redaction
from otel_ml.versions.definition import Definition, define
from otel_ml.versions.version_on import PARTS

_OUTPUT: Final = "structure of the return value, known after the first call"
_BY_ARGUMENT: Final = "not part of the version (version_on= leaves it out)"
_BY_KIND: Final = "not part of the version (outputs of language models have no fixed structure)"
_OF_JUDGE: Final = "not part of the version (a judge always returns a score)"
_CONSEQUENCE: Final = "(changes there make no new version: add them with params=)"
_CHARS: Final = 200


class NoFunction(ValueError):
    """The file, module or function does not exist."""


def find_target(place: str) -> object:
    """Import an object by its place, such as ``app.py:answer`` or ``shop.model:Model.answer``.

    Importing runs the module's code. A file inside a package is imported by its full module name.

    Raises:
        NoFunction: The place is invalid, or no such file or object exists.
    """
    module, colon, path = place.rpartition(":")
    if not colon or not module or not path:
        raise NoFunction(f"Invalid function {place!r}: expected FILE.py:NAME or MODULE:NAME")
    file = Path(module)
    if file.suffix == ".py":
        if not file.is_file():
            raise NoFunction(f"There is no file {module!r}")
        folder, names = file.resolve().parent, [file.stem]
        while (folder / "__init__.py").is_file():
            names.insert(0, folder.name)
            folder = folder.parent
        module = ".".join(names)
    else:
        folder = Path.cwd()
    sys.path.insert(0, str(folder))
    target: Any = importlib.import_module(module)
    for name in path.split("."):
        try:
            target = getattr(target, name)
        except AttributeError as error:
            raise NoFunction(f"Module {module!r} has no attribute {path!r}") from error
    return target


def explain(target: Any) -> dict[str, Any]:
    """Return what makes up the version of a function or judge.

    Args:
        target: A function, with or without the decorator, or a judge.

    Returns:
        A dict with these keys:

        * ``digest``: the version's digest.
        * ``source``, ``signature``, ``params``, ``helpers``, ``constants``, ``output``,
          ``unseen`` (parts that the SDK cannot include): as the SDK sends them, with secrets
          hidden.
        * ``counts``: names of the parts that count for the version.
        * ``left_out``: for each part that does not count, the reason.
        * ``read_by``: for each helper and constant, the function that uses it.

    Raises:
        NoFunction: The target is not a function or judge.
    """
    traced = _traced(target)
    redaction = Redaction()
    left_out: dict[str, str] = {}
    if traced is not None:
        definition: Definition = traced.wait_for_definition()
        redaction = traced.recorder.redaction
        asked = frozenset(traced.options.get("version_on", PARTS))
        left_out = dict.fromkeys(sorted(PARTS - asked), _BY_ARGUMENT)
        left_out |= dict.fromkeys(sorted(asked - traced.version_on), _BY_KIND)
    elif isinstance(target, Judge):
        definition, left_out = target.definition, {"output": _OF_JUDGE}
    elif isinstance(target, type) or not callable(target):
        raise NoFunction(
            f"Invalid function of type {type(target).__name__}: expected a function or a judge"
        )
    else:
        definition = define(target)
    return {
        "digest": definition.digest,
        **json.loads(definition.to_json(redaction)),
        "counts": sorted(PARTS.difference(left_out)),
        "left_out": left_out,
        "read_by": dict(definition.read_by),
    }


def lines_of(facts: dict[str, Any]) -> list[str]:
    """Return the facts of `explain`, and the key ``lost``, as lines of text."""
    read_by = facts["read_by"]
    source = facts["source"]
    rows: list[tuple[str, str]] = [("digest", facts["digest"])]
    if source is None:
        rows.append(("source", "not available: the version uses the compiled code"))
    else:
        rows.append(("source", f"{len(source.splitlines())} lines"))
    rows.append(("signature", facts["signature"] or "not available"))
    rows.append(("params", _value(facts["params"]) if facts["params"] else "none declared"))
    for part, name_of in (("helpers", "{}()"), ("constants", "{}")):
        fact = facts[part]
        rows += [
            (part, f"{_item(part, name_of.format(name), item)}, {_why(read_by.get(name))}")
            for name, item in fact.items()
        ] or [(part, "none")]
    rows.append(("output", _OUTPUT))
    rows = [(part, facts["left_out"].get(part, text)) for part, text in rows]
    rows += [("untracked", text) for text in facts["unseen"]] or [("untracked", "nothing found")]
    if facts["unseen"]:
        rows.append(("untracked", _CONSEQUENCE))
    rows += [("lost", text) for text in facts["lost"]]
    rows += [("slow", text) for text in facts["slow"]]
    lines, before = [], ""
    for part, text in dict.fromkeys(rows):
        lines.append(f"{'' if part == before else part:10} {text}")
        before = part
    return lines


def _item(part: str, name: str, item: Any) -> str:
    return (
        f"{name} {len(item.splitlines())} lines"
        if part == "helpers"
        else f"{name} = {_value(item)}"
    )


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CHARS else f"{text[:_CHARS]}…"


def _why(reader: str | None) -> str:
    return f"used by {reader}" if reader else "part of the judge"


def _traced(target: Any) -> TracedFunction | None:
    """Return the traced function behind a decorated one; None for an undecorated function."""
    known = vars(target).get("_otel_ml_traced") if hasattr(target, "__dict__") else None
    if isinstance(known, TracedFunction):
        return known
    target = getattr(target, "__func__", target)  # the function of a bound method
    for cell in getattr(target, "__closure__", None) or ():
        if isinstance(cell.cell_contents, TracedFunction):
            return cell.cell_contents
    return None
