"""Finds the files that a Python file of the project needs: what it imports, starts and reads.

It reads the text of the files, and imports none of them.

* A file imports modules, at its top or in a function.
* A string that names a module, such as ``"otel_ml_collector"`` after ``"-m"``, starts a program.
* A string or a ``/`` expression that names a file or a folder, such as ``ROOT / "docs"``, reads it.
* A test module uses the fixtures of each ``conftest.py`` in its folder and above.
"""

import ast
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Final

# Import roots, from the root of the project: where their modules are.
PACKAGES: Final[Mapping[str, str]] = {
    "otel_ml": "",
    "otel_ml_collector": "collector",
    "tests": "",
    "examples": "",
    "docs": "",
}
_CONFTEST: Final = "conftest.py"
_TOO_LARGE: Final = frozenset({"", ".", "tests"})  # as folders, they would be needed by all tests
_LONGEST_PATH: Final = 200


@dataclass(frozen=True, slots=True)
class Needs:
    """What a file needs.

    Attributes:
        run: Python files that it imports or starts.
        read: Other files, and folders.
    """

    run: frozenset[str]
    read: frozenset[str]


@dataclass(frozen=True)
class Sources:
    """The Python files of a project.

    Args:
        root: Its folder.
    """

    root: Path
    _needs: dict[str, Needs] = field(default_factory=dict)

    @cached_property
    def modules(self) -> Mapping[str, str]:
        """The file of each module, from the root."""
        found = {}
        for package, folder in PACKAGES.items():
            base = self.root / folder
            for file in sorted((base / package).rglob("*.py")):
                parts = file.relative_to(base).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                found[name] = str(file.relative_to(self.root))
        return found

    def find_needs(self, file: str) -> Needs:
        """Return what a file needs directly."""
        if file not in self._needs:
            self._needs[file] = self._read_needs(file)
        return self._needs[file]

    def follow(self, file: str) -> Mapping[str, str]:
        """Return a file, all that it needs directly or through others, and what needs each."""
        reached = {file: file}
        waiting = deque([file])
        while waiting:
            of = waiting.popleft()
            needs = self.find_needs(of)
            for name in sorted(needs.run):
                if name not in reached:
                    reached[name] = of
                    waiting.append(name)
            for name in needs.read:
                reached.setdefault(name, of)
        return reached

    def _read_needs(self, file: str) -> Needs:
        tree = _parse(self.root / file)
        run = {name for names in self._find_imports(tree).values() for name in names}
        read: set[str] = set()
        for conftest in self._find_conftests(file):
            read.add(conftest)
            run |= self._find_fixtures(conftest, _find_arguments(tree))
        for text in _find_texts(tree):
            run |= self._find_program(text)
            read.update(self._find_paths(file, text))
        return Needs(frozenset(run), frozenset(read))

    def _find_imports(self, tree: ast.AST) -> Mapping[str, set[str]]:
        """Return the files of the imported modules, by the name that the file gives them."""
        found: dict[str, set[str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.asname or alias.name.partition(".")[0]
                    found.setdefault(name, set()).update(self._find_files(alias.name))
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    files = self._find_files(f"{node.module}.{alias.name}")
                    found.setdefault(alias.asname or alias.name, set()).update(files)
        return found

    def _find_files(self, module: str) -> Iterator[str]:
        """Yield the files that Python runs to import a module, or a name in a module."""
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            if file := self.modules.get(".".join(parts[:end])):
                yield file

    def _find_program(self, text: str) -> set[str]:
        """Return the files of the program that a text names: a submodule, or a package to run."""
        main = self.modules.get(f"{text}.__main__")
        if text not in self.modules or not (main or "." in text):
            return set()
        return {*self._find_files(text), *([main] if main else [])}

    def _find_paths(self, file: str, text: str) -> Iterator[str]:
        """Yield the paths that a text names, from the root or from the folder of the file."""
        name = text.strip("/")
        is_path = "/" in text or "." in text[1:]
        if not is_path or name in _TOO_LARGE or len(name) > _LONGEST_PATH or ".." in name:
            return
        for path in (Path(name), Path(file).parent / name):
            if "\0" not in name and (self.root / path).exists():
                yield str(path)

    def _find_conftests(self, file: str) -> Iterator[str]:
        """Yield the conftest files whose fixtures a test module can use."""
        if Path(file).name.startswith("test_"):
            for folder in Path(file).parents:
                if (self.root / folder / _CONFTEST).is_file():
                    yield str(folder / _CONFTEST)

    def _find_fixtures(self, conftest: str, used: set[str]) -> set[str]:
        """Return what the used fixtures of a conftest file import."""
        tree = _parse(self.root / conftest)
        imports = self._find_imports(tree)
        names = _follow_fixtures(tree, used)
        return {file for name in names for file in imports.get(name, ())}


@cache
def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def _find_texts(node: ast.AST) -> Iterator[str]:
    """Yield the strings of a file, and the joined strings of `/` expressions, with a slash."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.BinOp) and (path := _join(node)):
        yield f"{path}/"
    else:
        for child in ast.iter_child_nodes(node):
            yield from _find_texts(child)


def _join(node: ast.expr) -> str:
    """Return the string at the end of a `/` expression, or what precedes a name at its end."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        left = _join(node.left)
        right = node.right.value if isinstance(node.right, ast.Constant) else ""
        return f"{left}/{right}".strip("/") if isinstance(right, str) else left
    return ""


def _find_arguments(tree: ast.AST) -> set[str]:
    """Return the names that may be fixtures: arguments of functions, and names in decorators."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found |= {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("usefixtures"):
            found |= {str(each.value) for each in node.args if isinstance(each, ast.Constant)}
    return found


def _follow_fixtures(tree: ast.AST, used: set[str]) -> set[str]:
    """Return the names in the fixtures that are used, directly, by others or automatically."""
    fixtures = {
        node.name: node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any("fixture" in ast.unparse(each) for each in node.decorator_list)
    }
    waiting = [
        name
        for name, node in fixtures.items()
        if name in used or any("autouse" in ast.unparse(each) for each in node.decorator_list)
    ]
    reached: set[str] = set()
    names: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in fixtures and name not in reached:
            reached.add(name)
            names |= {each.id for each in ast.walk(fixtures[name]) if isinstance(each, ast.Name)}
            waiting.extend(_find_arguments(fixtures[name]))
    return names
