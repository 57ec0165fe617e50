"""Samplers and id generators of a joined provider decide on runs as on spans of the SDK's."""

import pytest

from tests.support.interop.environments import Answers, ask
from tests.support.sampling import sampled

pytestmark = sampled(only=("sdk-1.25*",))

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
    """What the program about sampling found under the SDK."""
    return ask(sdk, "sampling")


def test_decisions(sampling: Answers) -> None:
    """Under every sampler and parent a run is kept, flagged and named as a span of the SDK's."""
    decisions = sampling["decisions"]
    differing = {case: both for case, both in decisions.items() if both[0] != both[1]}
    assert differing == {}


def test_decisions_on_roots(sampling: Answers) -> None:
    """A root run is recorded or dropped as its sampler says."""
    roots = {
        sampler: run["recording"]
        for case, (run, _) in sampling["decisions"].items()
        for sampler, parent, _ in [case.split(" | ")]
        if parent == "none"
    }
    assert {sampler for sampler in RECORDED | DROPPED if roots[sampler]} == RECORDED


def test_sampler_is_asked_the_same(sampling: Answers) -> None:
    """A sampler is asked of a run what it is asked of a span of the SDK's."""
    ours, stock = sampling["asked"]
    assert ours == stock
    assert (ours["name"], ours["kind"], ours["attributes"]["otel_ml.project"]) == (
        "model",
        "INTERNAL",
        "shop",
    )


def test_sampler_s_state(sampling: Answers) -> None:
    """The trace state that a sampler gives is the run's."""
    ours, stock = sampling["said"]
    assert ours["state"] == stock["state"] == {"sampler": "1"}


def test_sampler_s_attributes(sampling: Answers) -> None:
    """The attributes that a sampler adds arrive with the run."""
    ours, stock = sampling["said"]
    assert stock["attributes"]["sampler.rate"] == 0.5
    assert ours["attributes"].get("sampler.rate") == 0.5


def test_ids(sampling: Answers) -> None:
    """Ids come from the provider's generator, one each, for runs as for spans."""
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
    """What is called within a dropped run is dropped with it."""
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
    """The sampler that the environment names holds for runs of a joined provider."""
    found = ask(
        sdk,
        "sampling",
        "from_environment",
        OTEL_TRACES_SAMPLER=sampler,
        OTEL_TRACES_SAMPLER_ARG=argument or "1",
    )
    assert found["from_environment"][1:] == expected
