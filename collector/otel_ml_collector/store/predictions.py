"""Predictions with their truth, by run: what a run foretold, and the newest truth of a name.

A truth names a run, a trace key or a tag and is joined when it is read, whichever came first. Of
days that are over the rows are kept beside the rollups, so that no payload is read again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from otel_ml_collector.store.apart import Apart, words
from otel_ml_collector.store.counted import DELIVERIES, RECORDED, CountedRuns, named, shares
from otel_ml_collector.store.sql import EMPTY, Sql, join_sql, parameter
from otel_ml_collector.store.tables import LENT_PAYLOAD, fill_payloads

TARGET: Final = "target"
PredictionKind = Literal["class", "number", "ranking"]

# A text is as long as the name of a class; of a longer one the beginning and its hash.
_LONGEST: Final = 64
_WORD_OF: Final = Sql("""multiIf(
    {raw} IN ('', 'null'), '',
    startsWith({raw}, '"'), JSONExtractString({raw}),
    JSONType({raw}) IN ('Int64', 'UInt64', 'Double'), toString(JSONExtractFloat({raw})),
    {raw})""")
_CUT: Final = Sql("""if(length({text} AS text_of_{n}) <= {longest}, text_of_{n},
    concat(substringUTF8(text_of_{n}, 1, 32), '… ', lower(hex(sipHash64(text_of_{n})))))""")
_NUMBER_OF: Final = Sql("""if(JSONType({raw}) IN ('Int64', 'UInt64', 'Double')
    AND isFinite(JSONExtractFloat({raw})), toNullable(JSONExtractFloat({raw})), NULL)""")
_ITEMS_OF: Final = Sql("""arrayMap(item -> {text}, if(JSONType({raw}) = 'Array',
    JSONExtractArrayRaw({raw}), [{raw}]))""")
# Of a run that foretold something: the prediction as text, its number, and the same of the truth,
# empty where none is here; since when that is known.
COLUMNS: Final = Sql("""start_ns, trace_id, span_id, model, digest, structure, unit, said, amount,
  came, truth, told_ns""")
_ROWS: Final = Sql("""
  SELECT run.start_ns AS start_ns, run.trace_id AS trace_id, run.span_id AS span_id,
    run.model AS model, run.digest AS digest, run.structure AS structure, run.unit AS unit,
    {said} AS said, {amount} AS amount, {came} AS came, {truth} AS truth,
    if(came = '', 0, truths.first_ns) AS told_ns
  FROM (
    SELECT start_ns, trace_id, span_id, rank, toString(model) AS model,
      toString(digest) AS digest, toString(structure) AS structure,
      cityHash64(if({session} != '', concat('s', {session}), concat('t', trace_id))) AS unit
    FROM {recorded} {shares} WHERE {counted} AND {of_model}
  ) AS run
  INNER JOIN (
    SELECT start_ns, trace_id, span_id, rank, {raw} AS raw, {chance} AS chance
    FROM ({payloads}) WHERE raw NOT IN ('', 'null')
  ) AS payload ON payload.start_ns = run.start_ns AND payload.trace_id = run.trace_id
    AND payload.span_id = run.span_id AND payload.rank = run.rank
  {join} JOIN ({truths}) AS truths
    ON truths.trace_id = run.trace_id AND truths.span_id = run.span_id
  WHERE said != ''""")
_PAYLOADS: Final = Sql("""
    SELECT * FROM payloads WHERE {bounds}
      AND start_ns IN (SELECT start_ns FROM {deliveries} WHERE {bounds} AND {of_model})""")


@dataclass(frozen=True, slots=True)
class PredictionRule:
    """Which part of a model's output foretells which truth.

    Attributes:
        name: That of the target.
        version: That of its document, 0 where none is saved.
        model: Whose runs; empty for all that have the truth.
        truth: The name of the truth.
        path: The steps into the outputs.
        chance: The same of the probability of the positive class; None without one.
        k: Of a ranking how many of the first count.
    """

    name: str
    version: int
    model: str
    kind: PredictionKind
    truth: str
    path: Sequence[str | int]
    chance: Sequence[str | int] | None
    k: int

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of the parameters of `write_rows`."""
        steps = {
            f"{name}_{place}": step + (step >= 0) if isinstance(step, int) else step
            for name, path in (("path", self.path), ("chance", self.chance or ()))
            for place, step in enumerate(path)
        }
        return {**steps, "model": self.model, "truth": self.truth, "k": self.k}


def write_rows(rule: PredictionRule, counted: CountedRuns, apart: Apart) -> Sql:
    """Write the SQL for the predictions of runs that count, each with its truth.

    Args:
        rule: Of the target.
        counted: Which runs: those that began from the parameter `start` to the parameter `end`.
        apart: What of the project came apart from its runs.

    Returns:
        SQL that selects `COLUMNS`.
    """
    bounds = counted.bounds.sql
    of_model = Sql("model = {model:String}") if rule.model else Sql("model != ''")
    payloads = _PAYLOADS.fill(bounds=bounds, deliveries=DELIVERIES, of_model=of_model)
    if apart.same_calls:
        payloads = fill_payloads(payloads, {"outputs": LENT_PAYLOAD["outputs"]}, bounds)
    raw = _at("path", rule.path)
    said, amount, came, truth = _FORMS[rule.kind]
    return _ROWS.fill(
        said=said,
        amount=amount,
        came=came,
        truth=truth,
        session=named(Sql("session")) if apart.settled else Sql("session"),
        recorded=RECORDED,
        shares=shares(bounds) if apart.settled else EMPTY,
        counted=counted.sql,
        of_model=of_model,
        raw=raw,
        chance=Sql("NULL")
        if rule.chance is None
        else _NUMBER_OF.fill(raw=_at("chance", rule.chance)),
        payloads=payloads,
        # Of a truth without a target only the runs that have it.
        join=Sql("LEFT") if rule.model else Sql("INNER"),
        truths=words(Sql("{truth:String}"), Sql("'actual'"), apart),
    )


def _at(name: Literal["path", "chance"], path: Sequence[str | int]) -> Sql:
    """Write the JSON text at a path of the outputs, whose steps are parameters."""
    if not path:
        return Sql("outputs")
    steps = [
        parameter(f"{name}_{place}", "Int64" if isinstance(step, int) else "String")
        for place, step in enumerate(path)
    ]
    return Sql("JSONExtractRaw(outputs, {steps})").fill(steps=join_sql(", ", steps))


def _word(raw: Sql, n: int) -> Sql:
    return _CUT.fill(text=_WORD_OF.fill(raw=raw), n=n, longest=_LONGEST)


def _items(raw: Sql) -> Sql:
    return _ITEMS_OF.fill(text=_WORD_OF.fill(raw=Sql("item")), raw=raw)


_RAW: Final = Sql("payload.raw")
_CAME: Final = Sql("truths.newest")
# By kind: the prediction as text, its number, and the same of the truth. Of a class the number is
# the probability, of a ranking the share of the first k that are relevant.
_FORMS: Final[Mapping[PredictionKind, tuple[Sql, Sql, Sql, Sql]]] = {
    "class": (
        _word(_RAW, 1),
        Sql("if(payload.chance BETWEEN 0 AND 1, payload.chance, NULL)"),
        _word(_CAME, 2),
        Sql("CAST(NULL AS Nullable(Float64))"),
    ),
    "number": (
        Sql("if(isNull({number}), '', '1')").fill(number=_NUMBER_OF.fill(raw=_RAW)),
        _NUMBER_OF.fill(raw=_RAW),
        Sql("if(isNull({number}), '', '1')").fill(number=_NUMBER_OF.fill(raw=_CAME)),
        _NUMBER_OF.fill(raw=_CAME),
    ),
    "ranking": (
        Sql("if(JSONType({raw}) = 'Array', '1', '')").fill(raw=_RAW),
        Sql("""length(arrayIntersect(
          arraySlice({items}, 1, {k:UInt32}), {relevant})) / {k:UInt32}""").fill(
            items=_items(_RAW), relevant=_items(_CAME)
        ),
        Sql("if({raw} IN ('', 'null'), '', '1')").fill(raw=_CAME),
        Sql("CAST(NULL AS Nullable(Float64))"),
    ),
}
