"""Tests of findings: which stands first."""

from otel_ml_collector.monitor.findings import Finding, FindingKind, order_findings


def make_finding(
    kind: FindingKind, size: float, sentence: str = "it is so", version: int | None = None
) -> Finding:
    where = 'model == "answer"' + (f" and version == {version}" if version else f" and {size} > 0")
    return Finding(kind, sentence, "answer", where, 0, 1, size)


def test_order() -> None:
    """Broken data stands before models that changed, slices and traffic, whatever their size."""
    broken, traffic = make_finding("broken", 1), make_finding("traffic", 9_000)
    slices = [make_finding("slice", size) for size in (312, 88)]
    changed = [make_finding("model", 700), make_finding("release", 481)]
    given = [traffic, slices[1], changed[1], slices[0], broken, changed[0]]
    assert order_findings(given) == [broken, *changed, *slices, traffic]


def test_same_size() -> None:
    """Findings of one kind and size stand in the order of their words, however they came."""
    first, second = make_finding("slice", 5, "a"), make_finding("slice", 5, "b")
    assert order_findings([second, first]) == order_findings([first, second]) == [first, second]


def test_release_is_no_slice() -> None:
    """A version that is worse is told of as a release, and not as a slice once more."""
    release = make_finding("release", 5, version=2)
    other = make_finding("slice", 7, version=1)
    assert order_findings([make_finding("slice", 9, version=2), other, release]) == [release, other]
