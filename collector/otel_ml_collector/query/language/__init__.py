"""The filter language: a Python boolean expression over runs, parsed and never evaluated.

``model == "answer" and latency_ms > 200 and tags["client"] == "bigshot" and "refund" in input``
"""

from otel_ml_collector.query.language.parsed import conjuncts, parse
from otel_ml_collector.query.language.tree import (
    Ago,
    Both,
    Comparison,
    Constant,
    Duration,
    Either,
    Field,
    Not,
    Tree,
    comparisons_of,
    fields_of,
)

__all__ = [
    "Ago",
    "Both",
    "Comparison",
    "Constant",
    "Duration",
    "Either",
    "Field",
    "Not",
    "Tree",
    "comparisons_of",
    "conjuncts",
    "fields_of",
    "parse",
]
