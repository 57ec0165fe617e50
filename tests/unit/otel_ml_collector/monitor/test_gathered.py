"""Findings of several sources, of which some cannot answer."""

from otel_ml_collector.errors import StoreTimeout
from otel_ml_collector.findings.findings import Finding, GatheredFindings, gather_findings


def fail() -> list[Finding]:
    raise OverflowError("math range error")


def wait() -> list[Finding]:
    raise StoreTimeout("too slow")


def test_a_source_that_fails_is_named() -> None:
    """A source that fails or is too slow is named, and the others are gathered."""
    gathered = gather_findings({"fields": list, "slices": fail, "new versions": wait})
    assert gathered == GatheredFindings([], ["slices", "new versions"], ["slices"])
