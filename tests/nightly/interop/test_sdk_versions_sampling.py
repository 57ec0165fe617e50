"""A joined provider's samplers and id generators treat runs like SDK spans."""

import pytest

from tests.support.interop.environments import Answers, ask

RECORDED = {
    "default",
    "always on",
    "parent, on",
    "ratio 1",
    "own",
    "own, record only",
    "record only",
}
DROPPED = {"always off", "parent, off", "ratio 0", "own, drop", "own class"}


@pytest.fixture(scope="module")
def sampling(sdk: str) -> Answers:
    """Return the results of the program `sampling` with the SDK."""
    return ask(sdk, "sampling")


def test_decisions(sampling: Answers) -> None:
    """With every sampler and parent, a run is kept, flagged and named like an SDK span."""
    decisions = sampling["decisions"]
    differing = {case: both for case, both in decisions.items() if both[0] != both[1]}
    assert differing == {}


def test_decisions_on_roots(sampling: Answers) -> None:
    """A root run is recorded or dropped as its sampler decides."""
    roots = {
        sampler: run["recording"]
        for case, (run, _) in sampling["decisions"].items()
        for sampler, parent, _ in [case.split(" | ")]
        if parent == "none"
    }
    assert {sampler for sampler in RECORDED | DROPPED if roots[sampler]} == RECORDED


def test_sampler_is_asked_the_same(sampling: Answers) -> None:
    """A sampler gets the same arguments for a run as for an SDK span."""
    ours, stock = sampling["asked"]
    assert ours == stock
    assert (ours["name"], ours["kind"], ours["attributes"]["otel_ml.project"]) == (
        "model",
        "INTERNAL",
        "shop",
    )


def test_sampler_s_state(sampling: Answers) -> None:
    """A run has the trace state that its sampler returned."""
    ours, stock = sampling["said"]
    assert ours["state"] == stock["state"] == {"sampler": "1"}


def test_sampler_s_attributes(sampling: Answers) -> None:
    """Attributes added by a sampler arrive with the run."""
    ours, stock = sampling["said"]
    assert stock["attributes"]["sampler.rate"] == 0.5
    assert ours["attributes"].get("sampler.rate") == 0.5


def test_ids(sampling: Answers) -> None:
    """The provider's generator makes one id for each run and span."""
    first, second = (
        f"{0x0123456789ABCDEF_0123456789ABCDEF:032x}",
        f"{0x0123456789ABCDEF_0123456789ABCDF0:032x}",
    )
    assert sampling["ids"] == [
        [first, f"{2:016x}"],
        [first, f"{1:016x}"],
        [second, f"{4:016x}"],
        [second, f"{3:016x}"],
    ]


def test_children_of_a_dropped_run(sampling: Answers) -> None:
    """Calls inside a dropped run are dropped too."""
    assert sampling["children_of_dropped"] == 0


@pytest.mark.parametrize(
    ("sampler", "argument", "expected"),
    [
        ("always_on", "", ["model", "request"]),
        ("always_off", "", []),
        ("traceidratio", "0", []),
        ("parentbased_traceidratio", "1", ["model", "request"]),
    ],
)
def test_environment_s_sampler(sdk: str, sampler: str, argument: str, expected: list[str]) -> None:
    """The sampler set in the environment applies to runs of a joined provider."""
    found = ask(
        sdk,
        "sampling",
        "from_environment",
        OTEL_TRACES_SAMPLER=sampler,
        OTEL_TRACES_SAMPLER_ARG=argument or "1",
    )
    assert found["from_environment"][1:] == expected
