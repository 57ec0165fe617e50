"""Tests of artifacts on the page of a run."""

import ast
from typing import Any

import pytest

from otel_ml_collector.artifacts.find import LinkedArtifact
from otel_ml_collector.artifacts.page import lay_out_for
from otel_ml_collector.web.view import size

SERVER = "http://localhost:4318"
URL = "/api/v1/projects/p%22/artifacts/aa"
HOSTILE = '<script>alert("1")</script>\' & {{ 7*7 }} 日本'


def artifact(**told: Any) -> LinkedArtifact:
    facts = {"ref": "sample", "type": "", "bytes": 7, "sha256": "aa", "time": "", "url": None}
    return LinkedArtifact(**{**facts, "preview": None, **told})


@pytest.mark.parametrize(
    ("preview", "facts"),
    [
        (None, []),
        (
            {"type": "x", "dtype": "<f8", "shape": [480, 640, 3], "mean": 0.123456, "head": [1, 2]},
            [("dtype", "<f8"), ("shape", "480 × 640 × 3"), ("mean", "0.123"), ("head", "[1, 2]")],
        ),
        ({"shape": []}, [("shape", "one value")]),
        ({"mode": "RGB", "size": [64, 48]}, [("mode", "RGB"), ("size", "64 × 48")]),
        ({"shape": "odd"}, [("shape", "odd")]),
        (
            {"type": "x", "media_type": "application/vnd.apache.parquet", "name": "a"},
            [("name", "a"), ("stored as", "Parquet")],
        ),
        (
            {"media_type": "application/json", "why_typed": "an npy file has no mask"},
            [("stored as", "typed JSON, because an npy file has no mask")],
        ),
        ({"media_type": "text/html"}, [("stored as", "JSON")]),
        ("plain", [("preview", "plain")]),
        ([1, "日"], [("preview", '[1, "日"]')]),
        ({"head": "x" * 300}, [("head", "x" * 199 + "…")]),
    ],
    ids=lambda value: str(value)[:20],
)
def test_facts(preview: Any, facts: list[tuple[str, str]]) -> None:
    """A preview is shown as pairs of name and text, for arrays with shape and statistics."""
    (shown,) = lay_out_for([artifact(preview=preview)], SERVER)
    assert list(shown.facts) == facts


def test_older() -> None:
    """If a reference was logged twice, the newest artifact is marked."""
    shown = lay_out_for([artifact(), artifact(ref="b"), artifact()], SERVER)
    assert [one.is_newest for one in shown] == [True, True, False]


def test_code() -> None:
    """The code contains the document's address and type as strings; without one there is none."""
    shown = lay_out_for([artifact(url=URL, type=HOSTILE), artifact()], SERVER)
    assert shown[0].code is not None
    texts = [
        node.value for node in ast.walk(ast.parse(shown[0].code)) if type(node) is ast.Constant
    ]
    assert {*texts} == {SERVER + URL, HOSTILE}
    assert shown[1].code is None


@pytest.mark.parametrize(
    ("told", "image"),
    [
        ({"type": "otel_ml.types.Image", "url": URL}, f"{URL}/image"),
        ({"type": "raymon.types.Image", "url": URL}, f"{URL}/image"),
        ({"type": "otel_ml.types.Image"}, None),
        ({"type": "otel_ml.types.Numpy", "url": URL}, None),
        ({"type": "otel_ml.types.Image", "url": URL, "bytes": 17_000_000}, None),
    ],
)
def test_image(told: dict[str, Any], image: str | None) -> None:
    """An image is shown if its document is stored and not too large."""
    (shown,) = lay_out_for([artifact(**told)], SERVER)
    assert shown.image == image


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1_500, "1.5 kB"), (64_000_000, "64.0 MB")],
)
def test_size(value: int, text: str) -> None:
    """A number of bytes is written in the largest unit that is not below 1."""
    assert size(value) == text
