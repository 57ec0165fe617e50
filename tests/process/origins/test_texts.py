"""The snippets are the texts."""

import pytest

from tests.process.origins.texts import IMPORTS, TEXTS
from tests.support.origins.program import snippet


@pytest.mark.parametrize("name", TEXTS)
def test_snippet_is_the_text_but_for_its_imports(name: str) -> None:
    """Every line of a snippet is the text's, import lines of the origin's packages apart."""
    expected = [IMPORTS.get(line, line) for line in TEXTS[name].splitlines()]
    assert snippet(name).splitlines() == expected


def test_every_import_of_the_origins_is_changed() -> None:
    """The lines that may differ are import lines, and all of them are in the texts."""
    lines = {line for text in TEXTS.values() for line in text.splitlines()}
    assert all(line in lines and line.startswith(("import ", "from ")) for line in IMPORTS)
