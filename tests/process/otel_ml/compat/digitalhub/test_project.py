"""DigitalHub's project: models by their parameters, runs, and lazily loaded frameworks."""

from pathlib import Path

from otel_ml.compat.digitalhub import Project, get_or_create_project
from otel_ml.targets import TargetModel
from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import ask_script


def test_model_version_is_made_of_its_parameters(sink: Sink) -> None:
    """The same parameters give one version; another kind or parameter gives another."""
    project = Project("churn", sink.address)
    versions = []
    for kind, rate in [("mlflow", 0.1), ("mlflow", 0.1), ("mlflow", 0.2), ("sklearn", 0.1)]:
        handle = project.log_model("classifier", kind=kind, rate=rate).handle
        assert isinstance(handle, TargetModel)
        versions.append(handle.version)
    assert [versions.index(version) for version in versions] == [0, 0, 2, 3]
    project.client.close()


def test_project_says_its_name() -> None:
    """The repr of a project, recorded in inputs of jobs, shows its name."""
    assert repr(get_or_create_project("churn")) == "Project('churn')"


def test_import_loads_no_framework(tmp_path: Path) -> None:
    """The import does not load MLflow, numpy or pandas."""
    script = """
        import json, sys
        import otel_ml.compat.digitalhub
        heavy = {"mlflow", "numpy", "pandas", "sklearn", "torch", "transformers", "requests"}
        print(json.dumps(sorted(heavy & set(sys.modules))))
    """
    assert ask_script(tmp_path, script) == []
