"""Thirty real functions, traced unchanged: the same results, one run each.

``python -m tests.support.hostile.thirty`` runs them against the collector of the environment.
"""

import base64
import bisect
import colorsys
import difflib
import heapq
import json
import math
import re
import statistics
import string
import sys
import textwrap
import unicodedata
import urllib.parse
import zlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # has no types
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from otel_ml import Client

MATRIX: Final = np.array([[2.0, 1.0], [1.0, 3.0]])
TABLE: Final = pd.DataFrame({"city": ["a", "b", "a"], "sales": [1, 2, 3]})
POINTS, LABELS = make_blobs(n_samples=40, centers=2, random_state=0)

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Call:
    return function, arguments, keywords


CALLS: Final[dict[str, Call]] = {
    "json.dumps": call(json.dumps, {"b": [1, None], "a": "ä"}, sort_keys=True),
    "json.loads": call(json.loads, '{"a": [1, 2.5]}'),
    "re.sub": call(re.sub, r"\d+", lambda found: f"<{found[0]}>", "a1b22"),
    "sorted": call(sorted, ["b", "A", "c"], key=str.lower, reverse=True),
    "max": call(max, [3, 1, 2], default=0),
    "math.hypot": call(math.hypot, 3, 4, 12),
    "statistics.quantiles": call(statistics.quantiles, [1, 2, 3, 4], n=4),
    "statistics.linear_regression": call(statistics.linear_regression, [1, 2, 3], [2, 4, 7]),
    "heapq.nlargest": call(heapq.nlargest, 2, [1, 3, 2]),
    "bisect.bisect": call(bisect.bisect, [1, 3, 5], 4),
    "textwrap.wrap": call(textwrap.wrap, "a long line of text", width=8),
    "difflib.get_close_matches": call(difflib.get_close_matches, "appel", ["ape", "apple"]),
    "urllib.parse.urlencode": call(urllib.parse.urlencode, {"a": ["1", "2"]}, doseq=True),
    "base64.b64encode": call(base64.b64encode, b"\x00\xff"),
    "zlib.crc32": call(zlib.crc32, b"a"),
    "unicodedata.normalize": call(unicodedata.normalize, "NFD", "é"),
    "string.capwords": call(string.capwords, "two words"),
    "colorsys.rgb_to_hsv": call(colorsys.rgb_to_hsv, 0.2, 0.4, 0.4),
    "numpy.linalg.solve": call(np.linalg.solve, MATRIX, np.array([1.0, 2.0])),
    "numpy.linalg.eigh": call(np.linalg.eigh, MATRIX),
    "numpy.einsum": call(np.einsum, "ij,jk->ik", MATRIX, MATRIX),
    "numpy.add": call(np.add, MATRIX, 1),
    "pandas.concat": call(pd.concat, [TABLE, TABLE], ignore_index=True),
    "pandas.DataFrame.groupby": call(TABLE.groupby("city")["sales"].agg, "sum"),
    "pandas.DataFrame.merge": call(TABLE.merge, TABLE, on="city", how="inner"),
    "train_test_split": call(train_test_split, POINTS, LABELS, random_state=0),
    "KMeans.fit_predict": call(KMeans(n_clusters=2, n_init=1, random_state=0).fit_predict, POINTS),
    "StandardScaler.fit_transform": call(StandardScaler().fit_transform, POINTS),
    "LogisticRegression.predict_proba": call(
        LogisticRegression().fit(POINTS, LABELS).predict_proba, POINTS
    ),
    "f1_score": call(f1_score, LABELS, LABELS[::-1], average="macro"),
}


def run(client: Client) -> dict[str, bool]:
    """Call each function untraced and traced; return by name whether the results are equal."""
    same = {}
    for name, (function, arguments, keywords) in CALLS.items():
        plain = function(*arguments, **keywords)
        traced = client.trace(name=name)(function)(*arguments, **keywords)
        same[name] = are_same(plain, traced)
    return same


def are_same(one: Any, other: Any) -> bool:
    """Compare results that may be, or contain, arrays and tables."""
    if type(one) is not type(other):
        return False
    if isinstance(one, pd.DataFrame | pd.Series):
        return bool(one.equals(other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and bool(np.array_equal(one, other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(are_same, one, other))
    return bool(one == other)


def main() -> None:
    client = Client("thirty functions")
    found = run(client)
    if not client.flush():
        sys.exit("The runs did not reach a collector")
    for name, same in found.items():
        sys.stdout.write(f"{name:36} {'the same' if same else 'DIFFERS'}\n")


if __name__ == "__main__":
    main()
