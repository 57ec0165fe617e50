"""Tests of the comparison of two versions for each value of a tag."""

import pytest

from otel_ml_collector.measures.units import BOUNDS, Sides
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.verdicts.sides import compare_filters, compare_tag_values
from otel_ml_collector.windows import Window
from tests.support.otel_ml_collector.query.timeline import Arrivals, Timeline
from tests.support.otel_ml_collector.spans import MS_NS
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled

CLIENTS = ("Kessler", "Tanaka")


@sampled(1)
@pytest.mark.parametrize("turns", [1, 4])
def test_each_value_as_if_alone(store: Store, project: str, turns: int) -> None:
    """Each value has the same verdict as if its runs were compared alone.

    This also holds if the turns of a session alternate between two values.
    """
    timeline = Timeline(Arrivals(store), project)
    calls = []
    for version in ("1" * 16, "2" * 16):
        for number in range(300):
            client = CLIENTS[number % 2]
            is_worse = version == "2" * 16 and client == "Kessler" and number % 4 == 0
            passed = not is_worse and number % 50 > 1
            calls.append(
                timeline.call(
                    "classify",
                    attributes={
                        "otel_ml.model.version": version,
                        "otel_ml.tag.client": client,
                        "session.id": f"{version}-{number // turns}",
                        "otel_ml.score.confident": float(passed),
                        "otel_ml.passed.confident": passed,
                    },
                    end_ns=timeline.now_ns + 5 * MS_NS,
                )
            )
    timeline.take(*calls)
    end_ns = timeline.now_ns + 10**12
    sides = Sides(
        runs=Sql("{bounds} AND model = 'classify'").fill(bounds=BOUNDS.sql),
        is_before=Sql("digest = '1111111111111111'"),
        values={"project": project, "start": 0, "end": end_ns},
        counts=(300, 300),
    )
    tokens = [f"client={client}" for client in (*CLIENTS, "Nordwind")]
    verdicts = compare_tag_values(store.reader, project, sides, tokens)
    assert {token: verdict.word for token, verdict in verdicts.items()} == {
        "client=Kessler": "worse",
        "client=Tanaka": "not enough data",
        "client=Nordwind": "not enough data",
    }
    assert verdicts["client=Nordwind"].counts == (0, 0)
    filters = 'model == "classify" and version == 1', 'model == "classify" and version == 2'
    window = Window(0, end_ns)
    for client in CLIENTS:
        old, new = (f'{text} and tags["client"] == "{client}"' for text in filters)
        alone = compare_filters(store.reader, project, old, new, window)
        together = verdicts[f"client={client}"]
        assert (together.counts, together.word) == (alone.counts, alone.word)
        assert [figure.subject for figure in together.figures] == [
            figure.subject for figure in alone.figures
        ]
        assert together.first is not None
        assert alone.first is not None
        assert together.first == alone.first
