"""Follow flows through the code, and find the files that name tables of facts.

A *walk* starts at a function and follows its calls, in the order of the source, through functions
of this project. A *stop* is a public function on the way; private ones belong to their callers. A
*room* is a folder of the collector or, if it is in no folder, a module. A *return* is a step back
into a room that the walk has left. ``python -m tests.house`` prints the figures.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

from docs.literal_sql import FACT_TABLES

# The first function of each flow; several names if it was renamed.
FLOWS: Final[Mapping[str, Sequence[str]]] = {
    "a call, encoded": ("otel_ml.export.encoder.encode_spans",),
    "a request, stored": ("otel_ml_collector.receive.pipeline.Intake.accept",),
    "find_runs": ("otel_ml_collector.runs.find.find_runs",),
    "a rule, evaluated": ("otel_ml_collector.alerts.evaluation.AlertEvaluator.evaluate",),
    "find_experiment": (
        "otel_ml_collector.evaluations.experiments.find_experiment",
        "otel_ml_collector.experiments.find.find_experiment",
    ),
}
# Tables that any file may read, because they have the final values of runs.
RUN_TABLES: Final = frozenset({"runs", "open_runs"})
_RECORDED: Final = RUN_TABLES | FACT_TABLES
_ALLOWED: Final = ("otel_ml_collector.store", "otel_ml_collector.fold")
_NAMES_TABLE: Final = re.compile(r"\b(?:FROM|JOIN|INTO|TABLE|UPDATE)\s+(\w+)", re.IGNORECASE)
_ONLY_TABLE: Final = re.compile(r"\s*(\w+)(?:\s+FINAL)?\s*")
_MOST_FUNCTIONS: Final = 2_000

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Walk:
    """The figures of a walk.

    Attributes:
        stops: Public functions on the way.
        rooms: Different rooms of these.
        returns: Steps into a room that the walk has left before.
    """

    stops: int
    rooms: int
    returns: int


class Walks:
    """The functions of a tree and the calls between them.

    Args:
        trees: The parsed modules, by name.
    """

    def __init__(self, trees: Mapping[str, ast.Module]) -> None:
        self._trees = trees
        self._functions: dict[str, tuple[str, _Function]] = {}
        self._reached: dict[str, Set[str]] = {}
        self._methods: defaultdict[str, list[str]] = defaultdict(list)
        for module, tree in trees.items():
            for name, function in _functions_of(tree):
                self._functions[f"{module}.{name}"] = module, function
                if "." in name:
                    self._methods[name.rpartition(".")[2]].append(f"{module}.{name}")

    def walk(self, *starts: str) -> Walk | None:
        """Follow the calls from the first existing function of these names; None without one."""
        start = next((name for name in starts if name in self._functions), None)
        if start is None:
            return None
        way = [name for name in self._follow(start) if not _is_private(name)]
        rooms = [_room_of(self._functions[name][0]) for name in way]
        seen, returns = {rooms[0]}, 0
        for before, room in pairwise(rooms):
            returns += room != before and room in seen
            seen.add(room)
        return Walk(len(way), len(seen), returns)

    def _follow(self, start: str) -> Iterator[str]:
        """Yield each function once, the first time that the walk reaches it."""
        waiting, seen = [start], set[str]()
        while waiting and len(seen) < _MOST_FUNCTIONS:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                yield name
                waiting += reversed([*self._called_by(name)])

    def _called_by(self, name: str) -> Iterator[str]:
        module, function = self._functions[name]
        owner = name.removeprefix(f"{module}.").rpartition(".")[0]
        names = self._imports[module]
        for node in _in_order(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                target = names.get(node.id, f"{module}.{node.id}")
                yield from self._named(target)
            elif isinstance(node, ast.Attribute):
                yield from self._member(node, module, owner, names)

    def _named(self, target: str) -> Iterator[str]:
        if target in self._functions:
            yield target

    def _member(
        self, node: ast.Attribute, module: str, owner: str, names: Mapping[str, str]
    ) -> Iterator[str]:
        """Yield the function of an attribute: of a module, the own class, or the only one.

        The only one means the only method of that name in all classes of modules that this module
        imports, also indirectly.
        """
        if isinstance(node.value, ast.Name):
            if node.value.id in {"self", "cls"} and owner:
                own = f"{module}.{owner}.{node.attr}"
                if own in self._functions:
                    yield own
                    return
            of_import = f"{names.get(node.value.id, '')}.{node.attr}"
            if of_import in self._functions:
                yield of_import
                return
        methods = [
            name
            for name in self._methods.get(node.attr, ())
            if self._functions[name][0] in self._reached_from(module)
        ]
        if len(methods) == 1:
            yield methods[0]

    def _reached_from(self, module: str) -> Set[str]:
        """Return a module and all modules that it imports, directly or indirectly."""
        if module not in self._reached:
            reached, waiting = {module}, [module]
            while waiting:
                for target in self._imports[waiting.pop()].values():
                    name = target if target in self._trees else target.rpartition(".")[0]
                    if name in self._trees and name not in reached:
                        reached.add(name)
                        waiting.append(name)
            self._reached[module] = frozenset(reached)
        return self._reached[module]

    @cached_property
    def _imports(self) -> Mapping[str, Mapping[str, str]]:
        """The full name of each imported name, by module."""
        found: dict[str, dict[str, str]] = {}
        for module, tree in self._trees.items():
            names = found[module] = {}
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom):
                    for alias in node.names:
                        names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                elif isinstance(node, ast.Import):
                    for alias in node.names:
                        names[alias.asname or alias.name] = alias.name
        return found

    def naming_facts(self) -> dict[str, set[str]]:
        """Return the modules outside `store` and `fold` that name tables of facts, with the tables.

        A module names a table in the text of a statement, or by a constant of `store` that contains
        only the table's name.
        """
        tables = {
            f"{module}.{name}": table
            for module, tree in self._trees.items()
            for name, table in _constant_tables(tree)
        }
        naming: dict[str, set[str]] = {}
        for module, tree in self._trees.items():
            if not module.startswith("otel_ml_collector") or module.startswith(_ALLOWED):
                continue
            imported = (tables.get(target) for target in self._imports[module].values())
            found = {*_tables_in(tree), *filter(None, imported)} & _RECORDED
            if found:
                naming[module] = found
        return naming


def _functions_of(tree: ast.Module) -> Iterator[tuple[str, _Function]]:
    for node in tree.body:
        if isinstance(node, _Function):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, _Function):
                    yield f"{node.name}.{member.name}", member


def _in_order(function: _Function) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body in the order of the source."""
    nodes = [node for part in function.body for node in ast.walk(part)]
    parts = [node for node in nodes if isinstance(node, ast.expr)]
    yield from sorted(parts, key=lambda node: (node.lineno, node.col_offset))


def _is_private(name: str) -> bool:
    return any(part.startswith("_") for part in name.split("."))


def _room_of(module: str) -> str:
    """Return the folder of a module below its package, or the module if it is in none."""
    return ".".join(module.split(".")[:2])


def _texts_of(node: ast.AST) -> Iterator[str]:
    """Yield the texts of the SQL statements in a part of a module."""
    for part in ast.walk(node):
        if (
            isinstance(part, ast.Call)
            and isinstance(part.func, ast.Name)
            and part.func.id == "Sql"
            and part.args
            and isinstance(text := part.args[0], ast.Constant)
            and isinstance(text.value, str)
        ):
            yield text.value


def _tables_in(tree: ast.Module) -> Iterator[str]:
    for text in _texts_of(tree):
        yield from _NAMES_TABLE.findall(text)


def _constant_tables(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the constants of a module that only name a table: ``Sql("runs FINAL")``."""
    for node in tree.body:
        if not isinstance(node, ast.AnnAssign | ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        first = node.value.args[0] if node.value.args else None
        if isinstance(target, ast.Name) and isinstance(first, ast.Constant):
            match = _ONLY_TABLE.fullmatch(str(first.value))
            if match and match[1] in _RECORDED:
                yield target.id, match[1]
