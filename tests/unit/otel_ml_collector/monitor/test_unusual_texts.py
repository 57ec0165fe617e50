"""Tests of finding the most unusual of some texts."""

import random
from collections.abc import Callable
from typing import Final

import pytest

from otel_ml_collector.monitor.unusual_texts import weigh_texts

ENGLISH: Final = (
    "please refund my order the is not here yet can you help with delivery of a parcel shoes size "
    "wrong colour cancel subscription account login password"
)
DUTCH: Final = "waar blijft mijn bestelling ik wil graag geld terug kunt u mij helpen levering"


def write(draw: random.Random, words: str) -> str:
    """Write a random text, half of the time with a unique number."""
    number = f" {draw.randrange(10**6)}" if draw.random() < 0.5 else ""
    return " ".join(draw.choice(words.split()) for _ in range(draw.randrange(5, 30))) + number


ODD: Final[dict[str, Callable[[random.Random], str]]] = {
    "another script": lambda draw: f"сколько стоит заказ {draw.randrange(99)}",
    "another language": lambda draw: write(draw, DUTCH),
    "much longer": lambda draw: " ".join(draw.choice(ENGLISH.split()) for _ in range(2_000)),
    "digits": lambda draw: " ".join(str(draw.randrange(10**9)) for _ in range(9)),
}


@pytest.mark.parametrize("kind", [*ODD])
def test_unusual_texts_come_first(kind: str) -> None:
    """Among 208 texts, the 12 in another script, language or form are the most unusual."""
    draw = random.Random(kind)  # noqa: S311 - not for secrets
    texts = [write(draw, ENGLISH) for _ in range(196)]
    odd = [ODD[kind](draw) for _ in range(12)]
    weights = weigh_texts(texts + odd)
    first = sorted(range(208), key=lambda place: -weights[place])[:12]
    assert sorted(first) == [*range(196, 208)]


def test_no_texts_and_equal_texts() -> None:
    """An empty list has no weights, and equal or empty texts have equal weights."""
    assert weigh_texts([]) == []
    assert len(set(weigh_texts(["a b"] * 5))) == 1
    assert len(set(weigh_texts([""] * 5))) == 1
