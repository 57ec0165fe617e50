"""Tests of static files: their size and caching, and that the stylesheet has no unused rule."""

import re
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.routing import Mount

from otel_ml_collector.web.render import STATIC, TEMPLATES, Assets
from tests.support.otel_ml_collector.asgi import ask

COLLECTOR: Final = STATIC.parents[1]
MOST_BYTES: Final = 220 * 1024
# Written by uPlot, by htmx, and by templates as `l{{ level }}` and `sub{{ level }}`.
WRITTEN_ELSEWHERE: Final = {
    "u-legend",
    "u-marker",
    "htmx-request",
    *(f"l{level}" for level in range(4, 9)),
    *(f"sub{level}" for level in range(2, 4)),
}


def words_of(*files: Path) -> set[str]:
    return {word for file in files for word in re.findall(r"[\w-]+", file.read_text())}


def test_all_assets_are_small() -> None:
    """All files that a browser may load are smaller than 220 kB in total."""
    assert sum(file.stat().st_size for file in STATIC.rglob("*") if file.is_file()) < MOST_BYTES


def test_a_file_is_kept_under_the_hash_of_all() -> None:
    """A file is cached forever under the current hash, and revalidated under any other path."""
    app = Starlette(routes=[Mount("/static", Assets())])
    below = str(TEMPLATES.globals["static"])
    kept = ask(app, f"{below}/style.css")
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    for other in ("/static/style.css", f"/static/{'0' * 16}/style.css"):
        found = ask(app, other)
        assert (found.status, found.headers["cache-control"]) == (200, "no-cache")
        assert found.body == kept.body
    for odd in (f"{below}/../../render.py", f"{below}/{'0' * 16}/style.css", below):
        assert ask(app, odd).status == 404


def test_pages_load_by_the_hash() -> None:
    """Templates refer to static files only below the hash."""
    pages = COLLECTOR.glob("*/templates/**/*.html")
    assert [page.name for page in pages if '"/static/' in page.read_text()] == []


def test_every_class_of_the_style_is_used() -> None:
    """The stylesheet uses only classes that a page can have."""
    style = re.sub(r"/\*.*?\*/", "", (STATIC / "style.css").read_text(), flags=re.DOTALL)
    selectors = " ".join(re.findall(r"[^{}]+(?={)", style))
    classes = set(re.findall(r"\.([a-z][\w-]*)", selectors))
    pages = (
        *COLLECTOR.glob("*/templates/**/*.html"),
        *COLLECTOR.glob("*.py"),
        *COLLECTOR.glob("*/*.py"),
    )
    known = words_of(*pages, *STATIC.glob("js/*.js"))
    assert classes - known == WRITTEN_ELSEWHERE


def test_every_token_of_the_style_is_used() -> None:
    """Each named colour, space and size of the stylesheet is used."""
    style = (STATIC / "style.css").read_text()
    used = style + "".join(file.read_text() for file in STATIC.glob("js/*.js"))
    tokens = set(re.findall(r"(--[\w-]+):", style))
    assert {token for token in tokens if used.count(token) < 2} == set()


def test_templates_have_names_of_their_own() -> None:
    """No two topics have a template with the same name, because one would hide the other."""
    found = [
        file.relative_to(folder)
        for folder in COLLECTOR.glob("*/templates")
        for file in folder.rglob("*.html")
    ]
    assert sorted(set(found)) == sorted(found)
