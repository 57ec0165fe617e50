"""The parts of the nightly run: their tests and their prerequisites.

A part runs everything below its paths that CI leaves out: `tests/nightly`, the cases of sampled
tests, and properties with all their examples. If two paths contain a module, the longer path
decides. Each part takes at most 25 minutes on two idle cores.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.folders import ROOT


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the nightly run.

    Attributes:
        name: A short description.
        paths: Folders and modules, from the root of the project.
        targets: The `make` targets to run first.
        run_by_targets: The members of `paths` whose tests are run by the targets.
    """

    name: str
    paths: tuple[str, ...]
    targets: tuple[str, ...] = ()
    run_by_targets: tuple[str, ...] = ()


PARTS: Final = (
    Part(
        "the files of deploy/, and programs next to us: Jaeger, otelcol, Prometheus",
        ("tests/nightly/deploy", "tests/nightly/neighbours", "tests/process/deploy"),
        ("check-deploy", "neighbours"),
        ("tests/nightly/deploy",),
    ),
    Part(
        "other libraries: MLflow, transformers, torch, OpenAI, web frameworks",
        (
            "tests/nightly/integrations",
            "tests/nightly/origins",
            "tests/nightly/services",
            "tests/process/origins",
        ),
        (
            ".venv-integrations/stamp",
            ".venv-llm/stamp",
            ".venv-agents/stamp",
            ".venv-instrumentors/stamp",
            ".venv-tensorflow/stamp",
            ".venv-services/stamp",
        ),
    ),
    Part(
        "other versions of the OpenTelemetry SDK, gateways, peers, coding agents",
        ("tests/nightly/interop", "tests/process/interop"),
        (
            *(f".venv-sdk-{version}/stamp" for version in ("1.25", "1.36", "1.44")),
            *(f".venv-{name}/stamp" for name in ("peers", "threads", "greenlets", "services")),
            *(f".venv-{name}/stamp" for name in ("pickles", "rotel", "litellm", "frameworks")),
            *(f".venv-{name}/stamp" for name in ("bench-peers", "evals", "monitors", "phoenix")),
            "tests/nightly/interop/agents/node_modules/stamp",
        ),
    ),
    Part("pages in Chromium", ("tests/nightly/browser", "tests/browser"), ("tools",)),
    Part(
        "the SDK: properties with all examples, arguments, hostile hosts",
        (
            "tests/unit/otel_ml",
            "tests/process/otel_ml",
            "tests/nightly/otel_ml",
            "tests/nightly/hostile",
            "tests/process/hostile",
        ),
    ),
    Part(
        "the collector: properties with all examples, recorded spans, rows in any order",
        ("tests/unit", "tests/store/recorded", "tests/store/otel_ml_collector/store"),
    ),
    Part("the collector: queries, the API and pages over a store", ("tests/store",)),
    Part(
        "the collector: its processes and commands, large stores, older stores",
        ("tests/process/otel_ml_collector", "tests/nightly/otel_ml_collector"),
    ),
    Part(
        "kills, full disks, overload, two roads to the store",
        ("tests/nightly/end_to_end", "tests/nightly/contract", "tests/process/contract"),
    ),
    Part(
        "the docs: commands, programs, worked examples; Node.js; names declared twice",
        (
            "tests/nightly/docs",
            "tests/nightly/node",
            "tests/process/test_commands.py",
            "tests/process/test_docs.py",
        ),
        ("tools",),
    ),
    Part(
        "processes end to end, the release",
        ("tests/process", "tests/nightly"),
        (".venv-site/stamp", ".venv-release/stamp", "tools"),
    ),
)


def find_part(module: Path) -> Part:
    """Return the part that runs a test module.

    Args:
        module: Its path from the root of the project.
    """
    places = [
        (len(path), part)
        for part in PARTS
        for path in part.paths
        if module == Path(path) or Path(path) in module.parents
    ]
    return max(places, key=lambda place: place[0])[1]


def find_ignored(part: Part) -> list[str]:
    """Return the paths below a part's paths that belong to other parts."""
    return sorted(
        path
        for other in PARTS
        if other is not part
        for path in other.paths
        if any(Path(own) in Path(path).parents for own in part.paths)
    )


def find_modules(part: Part) -> Iterator[Path]:
    """Yield the test modules of a part."""
    for module in sorted((ROOT / "tests").rglob("test_*.py")):
        relative = module.relative_to(ROOT)
        if relative.parts[1] not in {"support", "bench"} and find_part(relative) is part:
            yield relative
