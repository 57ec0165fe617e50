"""Writes what was checked, so that "no problems" has a meaning."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from otel_ml.counts import write_count
from otel_ml_collector import wording
from otel_ml_collector.findings.find import CONTRIBUTORS, FIELDS
from otel_ml_collector.findings.slices import RunSlice
from otel_ml_collector.problems.problems import FoundProblems

# Slices with fewer runs are listed as having too few runs to check.
_FEW_RUNS: Final = 100
_PLURALS: Final = {
    "new version": "new versions",
    "new release": "new releases",
    "new LLM": "new LLMs",
    "error type": "error types",
    "slice": "slices",
}


def write_checked(found: FoundProblems) -> str:
    """Write what was checked, so that "no problems" has a meaning."""
    news, state = found.news, found.state
    dimensions = Counter(release.dimension for release in state.releases) if state else Counter()
    changes = [
        (news.versions_compared, "new version"),
        (dimensions["release"], "new release"),
        (dimensions["provider_model"], "new LLM"),
    ]
    # If nothing is new, the text says so of versions only.
    counts = [change for change in changes if change[0]] or changes[:1]
    counts.append((news.error_groups, "error type"))
    if state and state.slices:
        # Slices of failed and succeeded runs are never shown as worse.
        outcomes = sum(item.dimension == "outcome" for item in state.slices.slices)
        counts.append((state.slices.judged - outcomes, "slice"))
        if not state.slices.runs:
            return "No runs in this period."
    parts = [
        "1 " + word if number == 1 else f"{number:,} {_PLURALS[word]}"
        for number, word in counts
        if number
    ]
    if state and state.checked.is_complete and FIELDS.subject not in state.missing:
        parts.append("all input and output fields")
    none = [
        _PLURALS[word].replace("error types", "errors") for number, word in counts if not number
    ]
    text = f"Checked {_list(parts, 'and')}." if parts else ""
    if none:
        text += f" There are no {_list(none, 'or')} to check."
    if state and state.slices:
        small = [
            item
            for item in state.slices.slices
            if not any(cell.difference for cell in item.cells)
            and item.dimension not in ("outcome", "version")
            and item.runs < _FEW_RUNS
        ]
        if small:
            is_one = len({item.model for item in state.slices.slices}) == 1
            by_name = {_name_slice(item, is_one=is_one): item.runs for item in small}
            named = ", ".join(
                f"{name} ({write_count(runs, 'run')})" for name, runs in [*by_name.items()][:3]
            )
            more = f" and {len(by_name) - 3:,} more" if len(by_name) > 3 else ""  # noqa: PLR2004
            text += f" Not checked, because they have too few runs: {named}{more}."
    if state and not state.checked.is_complete:
        text += (
            f" Still checking fields: {state.checked.done} of {state.checked.days} days are done."
        )
    missing = state.missing if state else [contributor.subject for contributor in CONTRIBUTORS]
    failed = state.failed if state else []
    if slow := [name for name in missing if name not in failed]:
        text += f" Not checked, because the store was too slow: {', '.join(slow)}."
    if failed:
        text += (
            f" Not checked, because of an internal error that the collector's log describes: "
            f"{', '.join(failed)}."
        )
    return text.strip()


def _name_slice(item: RunSlice, *, is_one: bool) -> str:
    """Name a slice, such as `country PL of return_risk`. The only model is not named."""
    name = wording.slice_name(item.name)
    return name if is_one else f"{name} of {item.model}"


def _list(parts: Sequence[str], last: str) -> str:
    """Join some words: `a, b and c`."""
    return f" {last} ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
