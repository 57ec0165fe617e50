"""Embeddings as fields: projections keep distances and show drift."""

import random
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ks_2samp

from otel_ml.capture.taker import describe
from otel_ml.statistics.distances import distances_of_projections, kolmogorov_smirnov
from otel_ml.statistics.field_drift import Reference, compare_fields
from otel_ml.statistics.fields import FieldSketch, merge_fields, sketch_field
from otel_ml.statistics.projections import PROJECTIONS, is_embedding, project

LENGTH = 96


def draw_vectors(seed: int, n: int, moved: float = 0.0) -> list[list[float]]:
    """Draw normal vectors, all shifted by one vector of a given length."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    way = [random.Random(0).gauss(0, 1) for _ in range(LENGTH)]  # noqa: S311 - not for secrets
    scale = moved / float(np.linalg.norm(way))
    return [[draw.gauss(0, 1) + scale * step for step in way] for _ in range(n)]


def sketch_vectors(vectors: Sequence[Sequence[float]]) -> FieldSketch:
    projected = [project(vector) for vector in vectors]
    return sketch_field(projected, range(len(projected)), runs=len(projected))


def test_text_names_the_norm() -> None:
    """The text of an embedding gives its norm and does not call it the length."""
    assert str(project([3.0, 4.0])) == "embedding with norm 5"


def test_norm_and_distances_are_kept() -> None:
    """Norms are exact, and squared distances of projections match those of vectors on average."""
    vectors = draw_vectors(1, 60)
    assert [project(vector).norm for vector in vectors] == pytest.approx(
        [float(np.linalg.norm(vector)) for vector in vectors], rel=1e-5
    )
    pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
    ratios = [
        float(
            np.sum(np.subtract(project(first).projections, project(second).projections) ** 2)
            / np.sum(np.subtract(first, second) ** 2)
        )
        for first, second in pairs
    ]
    assert fmean(ratios) == pytest.approx(1, abs=0.15)
    assert len(project(vectors[0]).projections) == PROJECTIONS


def test_moved_embeddings_drift() -> None:
    """Embeddings that moved are drift, with the number of moved projections; others are not."""
    before = sketch_vectors(draw_vectors(2, 1_500))
    assert before.kind == "embedding"
    for moved, word in ((0.0, "as before"), (6.0, "drift")):
        window = sketch_vectors(draw_vectors(3, 400, moved))
        (drift,) = compare_fields({"outputs": window}, Reference("before", {"outputs": before}))
        assert drift.word == word
    assert drift.sentence.split(" of ")[1].startswith("32 projections moved")
    gaps = distances_of_projections(before.embedding, window.embedding)
    assert drift.parts[0].comparison.distance == pytest.approx(fmean(gaps.values()))


def test_hours_add_up() -> None:
    """Merged sketches of hours equal the sketch of all their embeddings."""
    vectors = draw_vectors(4, 90)
    merged = merge_fields([sketch_vectors(vectors[:40]), sketch_vectors(vectors[40:])])
    assert merged.embedding.n == 90
    assert merged.embedding.parts["p07"].bins == sketch_vectors(vectors).embedding.parts["p07"].bins


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([0.5] * 16, True),
        ([0.5] * 15, False),
        ([*range(40)], False),
        ([0.5] * 20 + [float("nan")], False),
        ([0.5] * 20 + ["a"], False),
        ([0.5] * 20 + [True], False),
    ],
)
def test_embeddings_are_told_from_lists(numbers: list[object], told: bool) -> None:
    """Only a list of at least 16 finite numbers, with a fraction among them, is an embedding."""
    assert is_embedding(numbers) is told


def test_description_of_a_vector() -> None:
    """A vector too long to be logged in full is described by its projections."""
    vector = np.linspace(-1, 1, 300)
    described = describe(vector)
    assert isinstance(described, dict)
    own = project(vector.tolist())
    assert (described["norm"], described["projections"]) == (own.norm, [*own.projections])
    assert "projections" not in describe(vector.reshape(20, 15))  # type: ignore[operator]


def test_description_of_an_image() -> None:
    """An image is described by its brightness, contrast and sharpness."""
    grey = Image.new("RGB", (200, 100), (100, 100, 100))
    described = describe(grey)
    assert isinstance(described, dict)
    assert described.pop("thumbnail").startswith("data:image/jpeg;base64,")
    assert described == {
        "type": "PIL.Image",
        "mode": "RGB",
        "size": [200, 100],
        "brightness": 100.0,
        "contrast": 0.0,
        "sharpness": 0.0,
    }
    pixels = np.random.default_rng(0).integers(0, 256, (80, 80), dtype=np.uint8)
    noise = describe(Image.fromarray(pixels))
    assert isinstance(noise, dict)
    assert noise["brightness"] == pytest.approx(pixels.mean(), abs=6)
    assert noise["contrast"] == pytest.approx(pixels.std(), abs=5)
    assert noise["sharpness"] > 5_000


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I", "F", "CMYK", "LA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (63, 65), (224, 200)])
def test_statistics_of_an_image(mode: str, size: tuple[int, int]) -> None:
    """Brightness and contrast come from the thumbnail, sharpness from the image's middle."""
    draw = np.random.default_rng(3)
    pixels = draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    wide, high = min(size[0], 64), min(size[1], 8)
    left, top = (size[0] - wide) // 2, (size[1] - high) // 2
    middle = image.crop((left, top, left + wide, top + high))
    scale = min((6_912 / (size[0] * size[1])) ** 0.5, 1.0)
    sides = [max(int(length * scale), 1) for length in size]
    grey, inner = (
        np.frombuffer(part.convert("L").tobytes(), np.uint8).astype(float)
        for part in (image.resize(sides, Image.Resampling.NEAREST), middle)
    )
    described = describe(image)
    assert isinstance(described, dict)
    assert described["brightness"] == pytest.approx(grey.mean(), abs=0.006)
    assert described["contrast"] == pytest.approx(grey.std(), abs=0.006)
    sharpness = np.mean(np.diff(inner) ** 2) if inner.size > 1 else 0
    assert described["sharpness"] == pytest.approx(sharpness, abs=0.006)


def test_image_that_is_not_read_yet(tmp_path: object) -> None:
    """An image that is not loaded yet is described without loading it."""
    path = f"{tmp_path}/image.png"
    Image.new("L", (8, 8), 7).save(path)
    with Image.open(path) as image:
        assert describe(image) == {"type": "PIL.Image", "mode": "L", "size": [8, 8]}


def test_projections_are_as_scipy_has_them() -> None:
    """The Kolmogorov-Smirnov distance of a projection matches scipy's of the raw projections."""
    first, second = draw_vectors(5, 500), draw_vectors(6, 500, 4.0)
    raw = [[project(vector).projections[3] for vector in side] for side in (first, second)]
    (drift,) = compare_fields(
        {"outputs": sketch_vectors(second)},
        Reference("before", {"outputs": sketch_vectors(first)}),
    )
    part = drift.parts[0]
    own = kolmogorov_smirnov(part.reference.parts["p03"], part.window.parts["p03"])
    assert own == pytest.approx(ks_2samp(*raw).statistic, abs=0.03)
