"""Attribute names of the wire contract."""

import ast
from pathlib import Path

import otel_ml
from otel_ml import attributes

STANDARD = {
    "error.type",
    "session.id",
    "user.id",
    "deployment.environment.name",
    "service.version",
    "test.suite.name",
    "test.case.name",
    "test.case.result.status",
}
NOT_ATTRIBUTES = {
    "PROJECT_HEADER",
    "PROGRAM_HEADER",
    "PREVIEWS_HEADER",
    "DEFAULT_PROJECT",
    "SCOPE_NAME",
    "JUDGE_KIND",
    "RECORDED",
    "REFERENCE_OF",
}

NAMES = {
    key: item
    for key, item in vars(attributes).items()
    if key.isupper() and isinstance(item, str) and key not in NOT_ATTRIBUTES
}
SDK = Path(otel_ml.__file__).parent
COLLECTOR = SDK.parent / "collector" / "otel_ml_collector"


def written_names(package: Path) -> dict[str, list[str]]:
    """Return the attribute names that modules of a package spell out, by file."""
    found: dict[str, list[str]] = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in OWN:
                found.setdefault(str(path.relative_to(package)), []).append(str(node.value))
    return found


# Excluded because the collector has its own list: it reads GenAI names of every version.
GEN_AI = {name for name in NAMES.values() if name.startswith("gen_ai.")}
OWN = frozenset(NAMES.values()) - STANDARD - GEN_AI


def test_names_are_different() -> None:
    """No two names share a value."""
    assert len(set(NAMES.values())) == len(NAMES)


def test_own_names_share_the_prefix() -> None:
    """Every name that is not OpenTelemetry's own starts with otel_ml."""
    others = {name for name in NAMES.values() if not name.startswith("otel_ml.")}
    assert others - GEN_AI == STANDARD


def test_contract_holds_the_names() -> None:
    """The names that other systems filter on match the wire contract."""
    assert {
        attributes.PROJECT,
        attributes.KIND,
        attributes.RECORD,
        attributes.MODEL_NAME,
        attributes.MODEL_VERSION,
        attributes.MODEL_OUTPUT_SCHEMA,
        attributes.MODEL_DEFINITION,
        attributes.INPUTS,
        attributes.OUTPUTS,
        attributes.LATENCY_MS,
        attributes.OUTCOME,
    } == {
        "otel_ml.project",
        "otel_ml.kind",
        "otel_ml.record",
        "otel_ml.model.name",
        "otel_ml.model.version",
        "otel_ml.model.output_schema",
        "otel_ml.model.definition",
        "otel_ml.inputs",
        "otel_ml.outputs",
        "otel_ml.latency_ms",
        "otel_ml.outcome",
    }


def test_sdk_writes_names_in_one_place() -> None:
    """Only attributes.py of the SDK spells out attribute names."""
    assert set(written_names(SDK)) == {"attributes.py"}


def test_collector_imports_the_names() -> None:
    """No module of the collector spells out an attribute name of the SDK."""
    assert written_names(COLLECTOR) == {}
