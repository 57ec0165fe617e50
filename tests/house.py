"""Print how much code must be read for a change: a table of this tree and of other commits.

``python -m tests.house`` counts the committed product files (otel_ml, collector), without generated
and vendored ones; ``python -m tests.house 3d291aa`` unpacks that commit and counts it first. The
numbers are only an indication.
"""

import ast
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

import tomllib

from tests.support.folders import ROOT
from tests.walks import FLOWS, RUN_TABLES, Walks

PRODUCT: Final = ("otel_ml", "collector")
_LEFT_OUT: Final = re.compile(r"_pb2|/vendor/|/_proto/|\.svg$|\.png$|py\.typed$")
_BROAD: Final = frozenset({"Exception", "BaseException"})
_CONTRACTS: Final = "tool.importlinter"
FIELDS: Final = ("cached_tokens", "reasoning_tokens", "provider_model")
_WORD: Final = re.compile(r"[A-Za-z_]\w*")
_MANY: Final = 5
_COLLECTOR: Final = "otel_ml_collector."
_FLOORS: Final = "Floors of the collector"
# Topics for commits whose import contract does not name them.
_TOPICS: Final = frozenset(
    [
        "alerts",
        "artifacts",
        "comparison",
        "datasets",
        "experiments",
        "feedback",
        "home",
        "judges",
        "keys",
        "live",
        "metrics",
        "models",
        "monitor",
        "overview",
        "project_settings",
        "projects",
        "quality",
        "queues",
        "runs",
        "sessions",
        "traces",
        "views",
    ]
)
_ORIGINS: Final = "otel_ml.compat."  # its names are those of other packages


class House:
    """The product files of a tree.

    Args:
        root: The tree's folder.
        files: Their paths, relative to the folder.
    """

    def __init__(self, root: Path, files: list[str]) -> None:
        self._root = root
        chosen = [name for name in files if not _LEFT_OUT.search(name)]
        self.texts = {name: (root / name).read_text(errors="replace") for name in chosen}
        self.modules = {
            _module(name): name for name in chosen if name.endswith(".py") and "." in name
        }

    @cached_property
    def trees(self) -> Mapping[str, ast.Module]:
        """The parsed modules, by name."""
        return {name: ast.parse(self.texts[path]) for name, path in self.modules.items()}

    @cached_property
    def imports(self) -> Mapping[str, frozenset[str]]:
        """The modules that each module imports, anywhere in its code."""
        return {name: frozenset(self._imported(tree)) - {name} for name, tree in self.trees.items()}

    def _imported(self, tree: ast.Module) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                below = [f"{base}.{alias.name}" for alias in node.names]
                wanted = [name if name in self.modules else base for name in below]
            else:
                continue
            yield from (name for name in wanted if name in self.modules)

    def rows(self) -> dict[str, float]:
        """Return the figures by name."""
        python = [self.texts[path] for path in self.modules.values()]
        lines = sum(text.count("\n") for text in python)
        nodes = [node for tree in self.trees.values() for node in ast.walk(tree)]
        users = Counter(name for imported in self.imports.values() for name in imported)
        broad = sum(_is_broad(node) for node in nodes)
        words = Counter(word for text in python for word in _WORD.findall(text))
        functions = [
            node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        cuts = sum(
            name.startswith("_")
            and not name.startswith("__")
            and words[name] == len(("def", "call"))
            for name in functions
        )
        walks = Walks(self.trees)
        naming = walks.naming_facts().values()
        count, field = max((len(self.naming(field)), field) for field in FIELDS)
        return {
            "lines, templates too": sum(text.count("\n") for text in self.texts.values()),
            "python files": len(self.modules),
            "longest import chain": self.longest_chain(),
            "modules with one importer": sum(
                users[name] == 1 and not path.endswith("__init__.py")
                for name, path in self.modules.items()
            ),
            "lines of import contracts": self._contract_lines(),
            **({"floors of the collector": len(floors)} if (floors := self._floors()) else {}),
            **({"arrows between topics": len(self.arrows())} if floors else {}),
            f"files that name {field}": count,
            "files outside store, fold that name a table of facts": len(naming),
            "files outside store, fold that name a table of facts other than runs": sum(
                bool(tables - RUN_TABLES) for tables in naming
            ),
            **{
                f"{flow}: {name}": getattr(walk, name)
                for flow, starts in FLOWS.items()
                if (walk := walks.walk(*starts)) is not None
                for name in ("rooms", "stops", "returns")
            },
            "broad excepts / 1,000 lines": round(1_000 * broad / lines, 2),
            "noqa / 1,000 lines": round(
                1_000 * sum(text.count("# noqa") for text in python) / lines, 2
            ),
            "class names twice": _count_twice(self.trees.values()),
            "class names twice, without the origins' own": _count_twice(
                tree for name, tree in self.trees.items() if not name.startswith(_ORIGINS)
            ),
            "% private, one caller": round(100 * cuts / len(functions), 1),
            "constants named in 5+ modules": sum(
                count >= _MANY for count in self._constants().values()
            ),
        }

    def _constants(self) -> Counter[str]:
        """Count by name the modules that define a constant."""
        constants: Counter[str] = Counter()
        for tree in self.trees.values():
            targets = [
                target
                for node in tree.body
                if isinstance(node, ast.Assign | ast.AnnAssign)
                for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            ]
            constants.update(
                {
                    target.id
                    for target in targets
                    if isinstance(target, ast.Name) and target.id.isupper() and len(target.id) > 1
                }
            )
        return constants

    def naming(self, word: str) -> list[str]:
        """List the files that contain a word."""
        whole = re.compile(rf"\b{re.escape(word)}\b")
        return [path for path, text in self.texts.items() if whole.search(text)]

    def longest_chain(self) -> int:
        """Count the modules of the longest chain of imports.

        Raises:
            ValueError: There is an import cycle.
        """
        depth: dict[str, int] = {}
        open_: set[str] = set()

        def walk(name: str) -> int:
            if name in open_:
                raise ValueError(f"A circle of imports through {name}")
            if name not in depth:
                open_.add(name)
                depth[name] = 1 + max(map(walk, self.imports[name]), default=0)
                open_.discard(name)
            return depth[name]

        return max(map(walk, self.modules), default=0)

    def arrows(self) -> set[tuple[str, str]]:
        """Return the pairs of topics in which the first imports the second."""
        topics = self._topics()
        return {
            (_room(name), _room(imported))
            for name, every in self.imports.items()
            for imported in every
            if _room(name) != _room(imported) and {_room(name), _room(imported)} <= topics
        }

    def _topics(self) -> frozenset[str]:
        """Return the rooms on the widest floor of rooms that may not import each other."""
        widest = max((floor.split(" | ") for floor in self._floors()), key=len, default=[])
        return frozenset(widest) if len(widest) >= _MANY else _TOPICS

    def _floors(self) -> list[str]:
        """Return the layers of the collector's import contract, from the top."""
        contracts = tomllib.loads((self._root / "pyproject.toml").read_text())["tool"]
        for contract in contracts["importlinter"]["contracts"]:
            if contract["name"] == _FLOORS:
                return list(contract["layers"])
        return []

    def _contract_lines(self) -> int:
        inside, lines = False, 0
        for line in (self._root / "pyproject.toml").read_text().splitlines():
            if line.startswith("["):
                inside = _CONTRACTS in line
            lines += inside
        return lines


def _module(path: str) -> str:
    dotted = path.removeprefix("collector/").removesuffix(".py").replace("/", ".")
    return dotted.removesuffix(".__init__")


def _room(module: str) -> str:
    """Return the room of a module of the collector, such as ``runs``; empty for the SDK."""
    return module.removeprefix(_COLLECTOR).split(".")[0] if module.startswith(_COLLECTOR) else ""


def _count_twice(trees: Iterable[ast.Module]) -> int:
    """Count the names of public classes that are defined more than once."""
    classes = Counter(
        node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    return sum(count > 1 and not name.startswith("_") for name, count in classes.items())


def _is_broad(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler):
        return False
    return node.type is None or (isinstance(node.type, ast.Name) and node.type.id in _BROAD)


def read_tree(root: Path = ROOT) -> House:
    """Return the files in a tree that git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", *PRODUCT], cwd=root, check=True, capture_output=True, text=True
    )
    return House(root, [name for name in listed.stdout.split() if (root / name).is_file()])


def unpack(commit: str, folder: Path) -> None:
    """Unpack a commit's product, tests and pyproject.toml into a folder."""
    packed = subprocess.run(
        ["git", "archive", commit, *PRODUCT, "tests", "pyproject.toml"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")


def read_commit(commit: str, folder: Path) -> House:
    """Unpack a commit into a folder and read its files."""
    unpack(commit, folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    return House(folder, [name for name in names if name.startswith(PRODUCT)])


def table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """Return figures as a Markdown table, with a column for each tree."""
    by_name = {
        name: [f"{rows[name]:,}" if name in rows else "–" for rows in columns.values()]
        for name in dict.fromkeys(name for rows in columns.values() for name in rows)
    }
    head = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    return "\n".join([*head, *(f"| {name} | {' | '.join(v)} |" for name, v in by_name.items())])


def main(commits: list[str]) -> None:
    """Print the table: first the given commits, then this tree."""
    columns = {}
    for commit in commits:
        with tempfile.TemporaryDirectory() as folder:
            columns[commit] = read_commit(commit, Path(folder)).rows()
    columns["now"] = read_tree().rows()
    sys.stdout.write(table(columns) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
