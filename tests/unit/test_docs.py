"""Tests that everything public is documented, and that the links of the docs lead somewhere."""

import ast
import re
from collections import Counter
from pathlib import Path

import griffe
import pytest

import otel_ml
from docs import make_dialects
from docs.make_reference import TARGET, make
from docs.markdown import anchor
from otel_ml.imports import TableOptions
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.filter.fields import FIELD_NAMES
from otel_ml_collector.serve.routes import ROUTES
from otel_ml_collector.settings.table import TABLE
from tests.support.folders import ROOT

README = ROOT / "README.md"
PAGES = [
    *(README, ROOT / "deploy/README.md", *sorted((ROOT / "docs").rglob("*.md"))),
    *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
]
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
MARKED_LINK = re.compile(r"\[([^\]\[]+)\]\([^)]*\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
VARIABLE = re.compile(r"OTEL_[A-Z_]*[A-Z]")


def read(page: str) -> str:
    return (ROOT / page).read_text()


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings as GitHub creates them."""
    found: list[str] = []
    counts: Counter[str] = Counter()
    for heading in HEADING.findall(FENCED.sub("", page.read_text())):
        slug = anchor(heading)
        found.append(f"{slug}-{counts[slug]}" if counts[slug] else slug)
        counts[slug] += 1
    return set(found)


def test_every_setting_is_documented() -> None:
    """Every setting is in the docs with its flag, variable, key, default and help text."""
    page = MARKED_LINK.sub(r"\1", read("docs/configuration.md")).replace("`", "")
    for setting in TABLE:
        row = f"| {setting.flag} | {setting.variable} | {setting.name} | "
        row += f"{setting.default} | " if setting.default else "| "
        assert f"{row}{setting.help}.".replace("`", "") in page


def test_every_variable_is_documented() -> None:
    """Every environment variable that the SDK reads is in the docs."""
    named = set()
    for module in (ROOT / "otel_ml").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= {node.value} if VARIABLE.fullmatch(node.value) else set()
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"_standard", "_choice"}:
                said = node.args[0]
                if isinstance(said, ast.Constant) and isinstance(said.value, str):
                    named.add(f"OTEL_EXPORTER_OTLP_{said.value}")
    text = read("docs/configuration.md")
    kinds = {"OTEL_ML_CAPTURE", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_COMPRESSION"}
    assert kinds <= named  # the search finds each kind of name
    assert [name for name in sorted(named) if f"`{name}`" not in text] == []


def test_every_endpoint_is_documented() -> None:
    """The tables of docs/api.md list every API call."""
    text = read("docs/api.md")
    calls = [
        f"`{method} {route.path.removeprefix('/api/v1')}`"
        for route in ROUTES
        if isinstance(route, DeferredRoute) and route.path.startswith("/api/v1/")
        for method in route.methods or ()
        if route.include_in_schema
    ]
    names = {":path": "", "{key}": "{id or key}", "{number}": "{n}"}
    for name, shown in names.items():
        calls = [call.replace(name, shown) for call in calls]
    assert len(calls) > 100
    assert [call for call in calls if call not in text] == []


def test_every_field_of_the_filter_is_documented() -> None:
    """Every filter field is in the docs with its kind and its description."""
    lines = read("docs/filters.md").splitlines()
    for name, field in FIELD_NAMES.items():
        short, key = (f" `{text}` |" if text else " |" for text in (field.short, field.key))
        assert f"| `{name}` | {field.kind.value} |{short}{key} {field.about} |" in lines


def test_every_public_name_has_a_heading() -> None:
    """Every public name of the SDK has its own heading in the docs."""
    headings = re.findall(r"^## (\w+)$", read("docs/reference.md"), re.MULTILINE)
    assert set(otel_ml.__all__) <= set(headings)


def test_reference_is_what_the_docstrings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is up to date: it equals the output of `make docs`."""
    # It starts git for links to the source, which the reference does not contain.
    monkeypatch.setattr(griffe.GitInfo, "from_package", lambda _: None)
    assert TARGET.read_text() == make()


def test_every_argument_of_an_import_is_described() -> None:
    """The options that `import_table` takes as a `TypedDict` have their texts in the reference."""
    [chapter] = re.findall(
        r"^### Client\.import_table$(.*?)^### ", read("docs/reference.md"), re.MULTILINE | re.DOTALL
    )
    items = re.findall(r"^\* .*", chapter, re.MULTILINE)
    assert len(items) == 2 + len(TableOptions.__annotations__)
    assert [item for item in items if "): " not in item] == []


def test_dialects_are_what_the_mapping_reads() -> None:
    """The page on dialects is up to date: it equals the output of `make docs`."""
    assert make_dialects.TARGET.read_text() == make_dialects.make()


@pytest.mark.parametrize("name", ["how-to", "design"])
def test_every_page_is_in_the_index(name: str) -> None:
    """Every page of a folder is listed in the folder's README."""
    folder = ROOT / "docs" / name
    listed = {target for target, _ in LINK.findall((folder / "README.md").read_text())}
    assert {page.name for page in folder.glob("*.md")} - {"README.md"} <= listed


def test_links_lead_somewhere() -> None:
    """Every link to a file, or to a heading of a file, has an existing target."""
    astray = []
    for page in PAGES:
        for target, heading in LINK.findall(page.read_text()):
            linked = page.parent / target if target else page
            if not linked.exists() or (heading and heading not in anchors(linked)):
                astray.append((page.name, target, heading))
    assert astray == []


def test_readme_is_short() -> None:
    """The README has at most 130 lines."""
    assert len(README.read_text().splitlines()) <= 130
