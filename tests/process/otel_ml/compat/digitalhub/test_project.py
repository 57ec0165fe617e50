"""DigitalHub's project: models by their parameters, runs, and lazily loaded frameworks."""

from pathlib import Path

from otel_ml.compat.digitalhub import Project, get_or_create_project
from otel_ml.targets import TargetModel
from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import ask_script


def test_model_version_is_made_of_its_parameters(sink: Sink) -> None:
    """The same parameters are one version, another kind or parameter another."""
    project = Project("churn", sink.address)
    versions = []
    for kind, rate in [("mlflow", 0.1), ("mlflow", 0.1), ("mlflow", 0.2), ("sklearn", 0.1)]:
        handle = project.log_model("classifier", kind=kind, rate=rate).handle
        assert isinstance(handle, TargetModel)
        versions.append(handle.version)
    assert [versions.index(version) for version in versions] == [0, 0, 2, 3]
    project.client.close()


def test_project_says_its_name() -> None:
    """A project is shown by its name, as inputs of jobs show it."""
    assert repr(get_or_create_project("churn")) == "Project('churn')"


def test_import_loads_no_framework(tmp_path: Path) -> None:
    """MLflow, numpy and pandas are loaded by who calls for them."""
    script = """
        import json, sys
        import otel_ml.compat.digitalhub
        heavy = {"mlflow", "numpy", "pandas", "sklearn", "torch", "transformers", "requests"}
        print(json.dumps(sorted(heavy & set(sys.modules))))
    """
    assert ask_script(tmp_path, script) == []
