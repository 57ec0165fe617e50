"""Rendered HTML is rewritten for a file that works without a server."""

import base64

import pytest

from otel_ml_collector.web.portable import FileLinks, PartLimits, make_portable

RUN = f"{'a' * 32}-{'b' * 16}"
PLACES = FileLinks("/projects/", runs={RUN})
# A PNG of one pixel.
ENCODED = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
PICTURE = f"data:image/png;base64,{ENCODED}"


@pytest.mark.parametrize(
    ("html", "written"),
    [
        ("<p>a &lt;b&gt; &amp;amp;</p>", "<p>a &lt;b&gt; &amp;amp;</p>"),
        ("<p onclick='x()' style='a:b' class='c'>a</p>", '<p class="c">a</p>'),
        ("<p>a<script>alert(1)</script>b</p>", "<p>ab</p>"),
        ("<p>a<iframe src=x></iframe><object>o<b>p</b></object>b", "<p>ab</p>"),
        ('<form><input name="a"><p>x</p></form><p>y</p>', "<p>y</p>"),
        ('<div hx-get="/a" hx-trigger="load"><b>x</b></div>y', "y"),
        ('<small data-live><kbd>j</kbd> next</small>y', "y"),
        ('<nav class="seg"><a href="?a">A</a></nav>y', "y"),
        ("<link rel=stylesheet href=x><meta http-equiv=refresh content=1><base href=x>y", "y"),
        ('<img src="https://example.org/a.png"><img src="data:image/svg+xml;base64,AA==">y', "y"),
        ('<svg viewBox="0 0 1 1"><path d="M0 0"/><use href="http://a#b"/></svg>',
         '<svg viewBox="0 0 1 1"><path d="M0 0"/></svg>'),
        ("</p></div>y", "y"),
    ],
)  # fmt: skip
def test_what_is_left_out(html: str, written: str) -> None:
    """Only listed elements and attributes are written; what needs a server or a request is not."""
    assert make_portable(html, PLACES) == written


@pytest.mark.parametrize(
    ("href", "written"),
    [
        (f"/projects/shop/runs/{RUN}?view=graph", f'<a href="#{RUN}">x</a>'),
        ("/projects/shop/models/m", "<span>x</span>"),
        ("javascript:alert(1)", "<span>x</span>"),
        ("JAVASCRIPT&colon;alert(1)", "<span>x</span>"),
        ("data:text/html,x", "<span>x</span>"),
        ("//example.org/x", "<span>x</span>"),
        ("?tab=io", "<span>x</span>"),
        (
            "https://example.org/?a=1&amp;b=2",
            '<a href="https://example.org/?a=1&amp;b=2" rel="noopener noreferrer" '
            'target="_blank">x</a>',
        ),
    ],
)
def test_links(href: str, written: str) -> None:
    """A link leads to a span of the file or to a website, or it becomes a text."""
    assert make_portable(f'<a href="{href}">x</a>', PLACES) == written


def test_links_to_the_server() -> None:
    """With an address of the collector, links to its pages stay links."""
    places = FileLinks("/ml/projects/", "https://ml.example")
    html = make_portable('<a href="/ml/projects/shop/models/m">m</a>', places)
    assert 'href="https://ml.example/ml/projects/shop/models/m"' in html


def test_images() -> None:
    """An image is written if its bytes are what it claims, and counted if it is left out."""
    html = f'<img class="picture" src="{PICTURE}" alt="a">'
    assert make_portable(html, PLACES) == f'<img src="{PICTURE}" class="picture" alt="a">'
    lie = html.replace("image/png", "image/jpeg")
    assert make_portable(lie, PLACES) == ""
    limits = PartLimits(images=False)
    assert make_portable(html, PLACES, limits) == ""
    assert limits.left_images == 1
    served = FileLinks("/projects/", read_image=lambda address: base64.b64decode(ENCODED))
    assert PICTURE in make_portable('<img src="/api/v1/x/image">', served)


def test_rows_of_tables() -> None:
    """Of a table of values, the heading and the first rows are written, and the others counted."""
    rows = "".join(f"<tr><td>{row}</td></tr>" for row in range(9))
    html = f'<table class="grid"><tr><th>n</th></tr>{rows}</table>'
    limits = PartLimits(rows=2)
    written = make_portable(html, PLACES, limits)
    assert written.count("<td>") == 2
    assert limits.left_rows == 7


def test_end() -> None:
    """A part that is too long ends early, with all its elements closed."""
    limits = PartLimits(chars=1_000)
    written = make_portable(f"<div>{'<p>abc</p>' * 500}</div>", PLACES, limits)
    assert len(written) < 1_100
    assert written.endswith("</p></div>")
    assert limits.is_cut


def test_times() -> None:
    """A time since now becomes the time itself."""
    html = '<time datetime="2026-11-29T17:05:28.9Z" data-ago=" ago">3 min ago</time>'
    assert ">2026-11-29 17:05:28 UTC</time>" in make_portable(html, PLACES)
