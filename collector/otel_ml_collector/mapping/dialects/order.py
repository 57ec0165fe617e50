"""The dialects that name fields more specifically than ``gen_ai.*``, in order of precedence.

Of a field that several name the first one's word stands: ours, then these in their order, then
``gen_ai.*``, then the general conventions. The order among these is that from the framework to the
backend: what a framework says of its own call is nearer to it than what a backend's SDK adds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.mapping.dialects import (
    langfuse,
    logfire,
    mlflow,
    openinference,
    openlit,
    openllmetry,
    vercel,
)
from otel_ml_collector.mapping.dialects.table import Names, Table
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.records import Metric, Run
from otel_ml_collector.span import Span


@dataclass(frozen=True, slots=True)
class Dialect:
    """One dialect: its table, and what its module does with it.

    Attributes:
        read_scores: None for a dialect whose scores do not travel on spans.
    """

    table: Table
    read_run: Callable[[Span, Names, Found], None]
    read_scores: Callable[[Span, Names, Run], list[Metric]] | None = None


DIALECTS: Final = (
    Dialect(openinference.TABLE, openinference.read_run, openinference.read_scores),
    Dialect(openllmetry.TABLE, openllmetry.read_run),
    Dialect(mlflow.TABLE, mlflow.read_run),
    Dialect(vercel.TABLE, vercel.read_run),
    Dialect(logfire.TABLE, logfire.read_run, logfire.read_scores),
    Dialect(langfuse.TABLE, langfuse.read_run),
    Dialect(openlit.TABLE, openlit.read_run, openlit.read_scores),
)
