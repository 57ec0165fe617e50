"""OpenLIT: the GenAI conventions with names of its own beside them.

Spec: https://docs.openlit.io/latest/sdk/destinations/overview
"""

from collections.abc import Mapping
from typing import Final

from otel_ml_collector.mapping.dialects import table
from otel_ml_collector.mapping.dialects.table import Names, Row, Table
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.judged import judged
from otel_ml_collector.records import Metric, Run
from otel_ml_collector.span import Span

_SDK: Final = "telemetry.sdk.name"
TABLE: Final = Table(
    dialect="openlit",
    marks=("gen_ai.",),
    kind_sources=(),
    kinds={},
    rows=(
        Row("inputs", ("gen_ai.content.prompt",)),
        Row("outputs", ("gen_ai.content.completion",)),
        Row("user", ("user.id", "gen_ai.request.user")),
        Row("environment", ("gen_ai.environment",)),
    ),
    scores=("gen_ai.eval.*",),
    notes=(
        f"Recognised by `{_SDK}` of the resource, which is `openlit`; `gen_ai.*` is read as it is "
        "from anyone.",
        "Each number below `gen_ai.eval.` is the score of a judge of that name.",
        "The total of tokens stays an attribute.",
    ),
)


def read_run(span: Span, present: Names, found: Found) -> None:
    """Fill the fields that OpenLIT's attributes name and nobody named before."""
    if span.scope.resource.get(_SDK) == "openlit":
        table.read_run(TABLE, span.attributes, present, found)


def read_scores(span: Span, present: Names, run: Run) -> list[Metric]:
    """Read the scores of OpenLIT's judges."""
    if span.scope.resource.get(_SDK) != "openlit":
        return []
    told = (source.read(span.attributes, {}) for source in present.scores)
    items = [item for one in told if isinstance(one, Mapping) for item in one.items()]
    scores = [judged(run, name, value) for name, value in items]
    return [score for score in scores if score is not None]
