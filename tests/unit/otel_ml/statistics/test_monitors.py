"""The results in docs/benchmarks.md: otel-ml compared with Evidently and NannyML."""

from tests.bench.monitors import HEADS, MONITORS
from tests.bench.monitors_cases import DRAWS, STREAMS
from tests.support.folders import ROOT

PAGE = ROOT / "docs/benchmarks.md"


def documented(name: str) -> dict[str, str]:
    """Return the documented results of one of the three monitors, by stream."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [[part.strip() for part in line.strip("| ").split(" | ")] for line in lines]
    place = HEADS.index(MONITORS[name])
    return {row[0]: row[place] for row in rows if row[0] in STREAMS}


def test_the_docs_have_each_stream() -> None:
    """The docs name each stream, and otel-ml is right in all draws of each."""
    ours = documented("otel-ml")
    assert [*ours] == [*STREAMS]
    for title, stream in STREAMS.items():
        assert ours[title].startswith(f"{DRAWS if stream.changed else 0} of {DRAWS}"), title
