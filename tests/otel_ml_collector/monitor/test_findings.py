"""Tests of findings: which stands first."""

from otel_ml_collector.monitor.findings import Finding, FindingKind, order_findings


def make_finding(kind: FindingKind, size: float, sentence: str = "it is so") -> Finding:
    return Finding(kind, sentence, "answer", 'model == "answer"', 0, 1, size)


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
