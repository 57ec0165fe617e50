"""Tries ways to find passages, each as a training: ``python -m service.tune``."""

from collections.abc import Sequence
from itertools import product
from typing import Final

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import linear_kernel

from .docs_search import docs  # noqa: TID252 - see the package
from .reference import read_passages, sentences, with_heading  # noqa: TID252

_WORDS: Final = (1, 2)  # how many in a row count as one
_LOGARITHMS: Final = (True, False)  # of how often a word stands in a passage
_MOST: Final = 12
_EVERY: Final = 25  # of so many passages one is looked for


def tune(words: int, logarithms: bool) -> None:
    """Look for passages by half of their words, and log how often they are among the first."""
    params = {"words": words, "logarithms": logarithms}
    with docs.run("tune-search", params=params) as run:
        texts = [with_heading(passage) for passage in read_passages()]
        vectorizer = TfidfVectorizer(
            stop_words="english", ngram_range=(1, words), sublinear_tf=logarithms
        )
        index = vectorizer.fit_transform(texts)
        wanted = range(0, len(texts), _EVERY)
        asked = [" ".join(sentences(texts[place])[-1].split()[::2]) for place in wanted]
        order = (-linear_kernel(vectorizer.transform(asked), index)).argsort()
        ranks = [list(row).index(place) for row, place in zip(order, wanted, strict=True)]
        for most in range(1, _MOST + 1):
            run.log_metrics({"found": _share(ranks, most)}, step=most)
        run.log_metrics({"terms": len(vectorizer.vocabulary_)})


def _share(ranks: Sequence[int], most: int) -> float:
    return sum(rank < most for rank in ranks) / len(ranks)


if __name__ == "__main__":
    for one in product(_WORDS, _LOGARITHMS):
        tune(*one)
    docs.flush()
