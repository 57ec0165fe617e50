"""Broken images, non-images and decompression bombs are not drawn."""

import base64
import json
import struct
import zlib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from otel_ml_collector.span import Event
from tests.nightly.browser.hostile import Story, Watch, payload, scroll, telling, unfold
from tests.support.otel_ml_collector.spans import make_artifact

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(2)</script></svg>'
GIF = base64.b64decode("R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs=")


def png(width: int, height: int) -> bytes:
    """Return a black PNG with one bit per pixel; even a large one is small on the wire."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    pixels = zlib.compress(bytes((width + 7) // 8 + 1) * height, 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    """Return the header of a JPEG, after a comment segment."""
    comment = b"\xff\xfe" + struct.pack(">H", 4_002) + bytes(4_000)
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8" + comment + frame


def data(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def artifact(ref: str, content: bytes) -> Event:
    params = {"mode": "1", "size": [1, 1], "data": base64.b64encode(content).decode()}
    form = json.dumps({"type": "otel_ml.types.Image", "params": params})
    return make_artifact(ref, form, type="otel_ml.types.Image")


BOMB = png(30_000, 30_000)
SAID = {
    "bomb": (data(BOMB), "it is too large (30,000 × 30,000 pixels)"),
    "jpeg": (data(jpeg(30_000, 30_000), "jpeg"), "it is too large (30,000 × 30,000 pixels)"),
    "svg": (data(SVG, "svg+xml"), "this form of image/svg+xml is not supported"),
    "wrong": (data(SVG), "it is declared as image/png, but is something else"),
    "other": (data(GIF), "it is declared as image/png, but is something else"),
    "cut": (data(BOMB[:20]), "its header declares no size"),
    "open": (
        "data:image/svg+xml,<svg onload=alert(1)>",
        "this form of image/svg+xml is not supported",
    ),
    "long": (data(bytes(600_000)), "it is too large (over 700,000 characters)"),
}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with telling(tmp_path_factory.mktemp("images")) as told:
        yield told


@pytest.fixture(params=[390])
def watch(request: pytest.FixtureRequest, chromium: Browser, story: Story) -> Iterator[Watch]:
    watched = Watch(chromium, story.collector.endpoint, request.param)
    yield watched
    watched.close()


@pytest.mark.parametrize("name", SAID)
def test_an_image_that_is_not_drawn(watch: Watch, story: Story, name: str) -> None:
    """An invalid or oversized image is not drawn, and the page shows the reason."""
    address, why = SAID[name]
    page = watch.visit(story.add(name, payload({"image": address})), scroll)
    expect(page.locator("#input")).to_contain_text(f"The image cannot be shown: {why}")
    assert page.locator("main img").count() == 0


def test_images_that_are_drawn(watch: Watch, story: Story) -> None:
    """A small image is drawn, and a truncated image does no harm."""
    path = story.add("drawn", payload(data(png(64, 48)), data(GIF, "gif")))
    page = watch.visit(path, scroll)
    for section, sides in (("input", [64, 48]), ("output", [1, 1])):
        image = page.locator(f"#{section} img")
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", value=True)
        assert image.evaluate("one => [one.naturalWidth, one.naturalHeight]") == sides
    watch.visit(story.add("cut off", payload(data(png(2_000, 2_000)[:100]))), scroll)


def test_artifacts(watch: Watch, story: Story) -> None:
    """Only valid logged images are drawn, and all of them can be downloaded."""
    logged = {"fine": png(64, 48), "bomb": BOMB, "jpeg": jpeg(20_000, 1_000), "svg": SVG}
    path = story.add("logs", events=[artifact(ref, content) for ref, content in logged.items()])
    page = watch.visit(path, scroll, unfold, scroll)
    shown = {
        one.locator("h3").inner_text(): one.inner_text() for one in page.locator(".artifact").all()
    }
    assert set(shown) == set(logged)
    assert page.locator(".artifact img").count() == 1
    assert "cannot be shown" not in shown["fine"]
    assert (
        "The image cannot be shown: it is too large (30,000 × 30,000 pixels). To see it"
        in shown["bomb"]
    )
    assert (
        "The image cannot be shown: it is too large (20,000 × 1,000 pixels). To see it"
        in shown["jpeg"]
    )
    assert "The image cannot be shown: it is neither PNG nor JPEG. To see it" in shown["svg"]
    assert page.get_by_role("link", name="Download", exact=True).count() == len(logged)


def test_image_addresses(watch: Watch, story: Story) -> None:
    """An image address returns 404 for an image that a page would not draw."""
    path = story.add("asked", events=[artifact("bomb", BOMB), artifact("svg", SVG)])
    run = story.collector.get(f"/runs/{path.rpartition('/')[2]}")
    for one in run["artifacts"]:
        answer = watch.page.request.get(f"{story.collector.endpoint}{one['url']}/image")
        assert answer.status == 404
        document = watch.page.request.get(f"{story.collector.endpoint}{one['url']}")
        assert document.headers["content-disposition"].startswith("attachment")
        assert document.headers["x-content-type-options"] == "nosniff"
