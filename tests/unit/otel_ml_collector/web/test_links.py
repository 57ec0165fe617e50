"""Tests of links: one function writes them, and no other code starts an address with a slash."""

import ast
import re
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Final, TypeGuard

from otel_ml_collector.web import view
from otel_ml_collector.web.render import STATIC
from otel_ml_collector.web.view import BASE_PATH, link_to, path_of

COLLECTOR_FOLDER: Final = STATIC.parents[1]
# An address starts with a slash and a letter.
ADDRESS: Final = re.compile(r"/[a-z]")
IN_MARKUP: Final = re.compile(r"""(?:href|src|action|hx-\w+|data-[\w-]+)=["']/""")
# An expression in a template or script that starts with such an address.
IN_EXPRESSION: Final = re.compile(r"""["'`]/[a-z$]""")
# Calls that name routes. They compare and register paths that no browser sees.
OF_ROUTES: Final = {"startswith", "removeprefix", "endswith", "mount", "add_route", "Route", "Path"}
# Programs that call a collector, generated code, and OTLP, which has no pages.
NOT_PAGES: Final = {"cli", "_proto", "receive"}


def test_a_link_is_quoted_and_has_no_empty_parameters() -> None:
    """A link quotes its parts, and leaves out parameters without a value."""
    assert link_to() == "/"
    assert link_to("projects", "a/b c", where="x == 1", last="") == (
        "/projects/a%2Fb%20c?where=x+%3D%3D+1"
    )
    assert link_to("runs", tag=["a", "b"]) == "/runs?tag=a&tag=b"


def test_links_begin_with_the_base_path() -> None:
    """Links to pages, the API and files start with the base path, but a bare path does not."""

    def write() -> list[str]:
        BASE_PATH.set("/otel-ml")
        static = link_to("static", "icon.svg")
        return [link_to(), view.address("p", "runs"), view.api_address("projects"), static]

    assert copy_context().run(write) == [
        "/otel-ml/",
        "/otel-ml/projects/p/runs",
        "/otel-ml/api/v1/projects",
        "/otel-ml/static/icon.svg",
    ]
    assert copy_context().run(lambda: (BASE_PATH.set("/x"), path_of("queues"))[1]) == "/queues"
    assert link_to("queues") == "/queues"


def test_templates_write_no_address() -> None:
    """No template writes an address that starts with a slash. `link_to` and its short forms do."""
    assert [
        f"{page.name}: {found[0]}"
        for page in sorted(COLLECTOR_FOLDER.glob("*/templates/**/*.html"))
        for pattern in (IN_MARKUP, IN_EXPRESSION)
        for found in pattern.finditer(page.read_text())
    ] == []


def test_scripts_write_no_address() -> None:
    """No script and no style writes an address that starts with a slash. Pages pass them on."""
    files = [*STATIC.glob("js/*.js"), STATIC / "theme.js", STATIC / "style.css"]
    assert [
        f"{file.name}: {found[0]}"
        for file in files
        for found in re.finditer(r"""["'`(]/[a-z$]\w*[/"'`?]""", file.read_text())
    ] == []


def test_python_writes_no_address() -> None:
    """No Python code of the pages and the API writes an address that starts with a slash."""
    assert [
        f"{file.relative_to(COLLECTOR_FOLDER)}:{node.lineno}: {text}"
        for file in sorted(COLLECTOR_FOLDER.rglob("*.py"))
        if file.relative_to(COLLECTOR_FOLDER).parts[0] not in NOT_PAGES
        and file != Path(view.__file__)
        for node, text in find_addresses(ast.parse(file.read_text()))
    ] == []


def find_addresses(tree: ast.AST) -> Iterator[tuple[ast.Constant, str]]:
    """Find strings that start as addresses, except routes, comparisons and module constants."""
    if isinstance(tree, ast.Module):
        kept: list[ast.AST] = [each for each in tree.body if not is_route_constant(each)]
    elif isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
        kept = [*tree.args.defaults, *tree.args.kw_defaults, *tree.body]  # type: ignore[list-item]  # None has no nodes
    elif isinstance(tree, ast.Compare) or (isinstance(tree, ast.Call) and is_of_routes(tree)):
        kept = []
    elif isinstance(tree, ast.JoinedStr):  # text after a value continues the address
        kept = [each for each in tree.values if each is tree.values[0] or not is_text(each)]
    else:
        kept = list(ast.iter_child_nodes(tree))
    for node in kept:
        if is_text(node):
            if ADDRESS.match(str(node.value)) or IN_MARKUP.search(str(node.value)):
                yield node, str(node.value)
        elif node is not None:
            yield from find_addresses(node)


def is_text(node: ast.AST | None) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_of_routes(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in OF_ROUTES or name in {"APIRouter", "add_api_route"}


def is_route_constant(node: ast.AST) -> bool:
    """Return whether a statement defines a route constant, such as ``SIGN_IN: Final = ...``."""
    return (
        isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id.isupper()
    )
