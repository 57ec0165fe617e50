"""Finds the least usual of some texts: another script, other words, another length."""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Final

from otel_ml.statistics.sketches import script_of

# A script is rare if at most this share of the texts is in it.
_RARE: Final = 0.1
# Texts whose words differ by this many deviations come before texts with an unusual length.
_OTHER_WORDS: Final = 3.0
_MOST_DEVIATIONS: Final = 40.0
_BY_WORDS: Final = 100.0
_BY_SCRIPT: Final = 200.0
# Standard deviation divided by the median absolute deviation, for a normal distribution.
_DEVIATION: Final = 1.4826


def weigh_texts(texts: Sequence[str]) -> list[float]:
    """Return how unusual each text is among all of them; larger is more unusual.

    Texts in a rare script come first. Then come texts with words that few others have, such as
    another language in the same script. Then come texts that are very short, very long or full of
    digits.
    """
    scripts = [script_of(text) for text in texts]
    in_script = Counter(scripts)
    words = [set(text.lower().split()) for text in texts]
    having = Counter(word for of_text in words for word in of_text)
    rarity = [_rarity(of_text, having, len(texts)) for of_text in words]
    lengths = [math.log1p(len(text)) for text in texts]
    digits = [sum(map(str.isdigit, text)) / max(len(text), 1) for text in texts]
    by_words = _deviations(rarity)
    by_form = zip(_deviations(lengths), _deviations(digits), strict=True)
    weights = []
    for script, other_words, forms in zip(scripts, by_words, by_form, strict=True):
        weight = max(other_words, *map(abs, forms))
        if in_script[script] <= _RARE * len(texts):
            weight = _BY_SCRIPT - math.log(in_script[script] / len(texts))
        elif other_words > _OTHER_WORDS:
            weight = _BY_WORDS + other_words
        weights.append(weight)
    return weights


def _rarity(words: set[str], having: Counter[str], texts: int) -> float:
    """Return how rare the words of a text are: their mean surprisal in the other texts."""
    if not words:
        return 0.0
    return math.fsum(-math.log((having[word] - 0.5) / texts) for word in words) / len(words)


def _deviations(values: Sequence[float]) -> list[float]:
    """Return by how many deviations each value is above the median, or below it."""
    if not values:
        return []
    middle = median(values)
    least = max(abs(middle), 1.0) / _MOST_DEVIATIONS / 10
    spread = max(_DEVIATION * median(abs(value - middle) for value in values), least)
    return [
        max(min((value - middle) / spread, _MOST_DEVIATIONS), -_MOST_DEVIATIONS) for value in values
    ]
