"""The snippets equal the texts of the origins."""

import pytest

from tests.process.origins.texts import IMPORTS, TEXTS
from tests.support.origins.program import snippet


@pytest.mark.parametrize("name", TEXTS)
def test_snippet_is_the_text_but_for_its_imports(name: str) -> None:
    """Each line of a snippet is the text's, except imports of the origin's packages."""
    expected = [IMPORTS.get(line, line) for line in TEXTS[name].splitlines()]
    assert snippet(name).splitlines() == expected


def test_every_import_of_the_origins_is_changed() -> None:
    """The lines that may differ are imports, and all of them occur in the texts."""
    lines = {line for text in TEXTS.values() for line in text.splitlines()}
    assert all(line in lines and line.startswith(("import ", "from ")) for line in IMPORTS)
