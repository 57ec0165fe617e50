"""Tries parameters of the search and records each try as a run: ``python -m service.tune``."""

from collections.abc import Sequence
from itertools import product
from typing import Final

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import linear_kernel

from .docs_search import docs  # noqa: TID252 - see the package
from .reference import read_passages, sentences, with_heading  # noqa: TID252

_WORDS: Final = (1, 2)  # the longest word n-gram that is a term
_LOGARITHMS: Final = (True, False)  # whether to take the logarithm of term counts
_MOST: Final = 12  # results
_EVERY: Final = 25  # every 25th passage is searched for


def tune(words: int, logarithms: bool) -> None:
    """Search for passages by half of their words and log the share found in the top results."""
    params = {"words": words, "logarithms": logarithms}
    with docs.run("tune-search", params=params) as run:
        texts = [with_heading(passage) for passage in read_passages()]
        vectorizer = TfidfVectorizer(
            stop_words="english", ngram_range=(1, words), sublinear_tf=logarithms
        )
        index = vectorizer.fit_transform(texts)
        targets = range(0, len(texts), _EVERY)
        asked = [" ".join(sentences(texts[place])[-1].split()[::2]) for place in targets]
        order = (-linear_kernel(vectorizer.transform(asked), index)).argsort()
        ranks = [list(row).index(place) for row, place in zip(order, targets, strict=True)]
        for most in range(1, _MOST + 1):
            run.log_metrics({"found": _share(ranks, most)}, step=most)
        run.log_metrics({"terms": len(vectorizer.vocabulary_)})


def _share(ranks: Sequence[int], most: int) -> float:
    return sum(rank < most for rank in ranks) / len(ranks)


if __name__ == "__main__":
    for words, logarithms in product(_WORDS, _LOGARITHMS):
        tune(words, logarithms)
    docs.flush()
