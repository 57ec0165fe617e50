"""Templates write a count with its noun by the filter `counted`."""

import re
from pathlib import Path

import pytest

from otel_ml_collector.web.render import TEMPLATES
from tests.support.folders import ROOT

PAGES = sorted((ROOT / "collector/otel_ml_collector").glob("*/templates/**/*.html"))


def test_a_single_run_is_singular() -> None:
    """A page says `1 run`, and `1,000 runs`."""
    page = TEMPLATES.from_string('{{ n | counted("run") }}')
    assert [page.render(n=n) for n in (1, 1_000)] == ["1 run", "1,000 runs"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_template_writes_a_plural_after_a_count(path: Path) -> None:
    """No template writes a count and then a plural noun, which would be wrong for 1."""
    plural = re.compile(r"\| (?:count|length) \}\} [a-z]+s (?!are shown)")
    assert plural.findall(path.read_text()) == []
