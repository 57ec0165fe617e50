"""The page of a model and the list of models show the same counts."""

import time
from dataclasses import replace

from otel_ml_collector.times import HOUR_NS
from otel_ml_collector.versions.find import find_versions
from tests.store.otel_ml_collector.test_experiments import make_experiment, make_runs
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night


@at_night
def test_versions_of_experiments(service: Service, project: str) -> None:
    """The model's page counts live runs, and gives the number of experiment runs separately."""
    experiment = make_experiment(1)
    tried = [
        replace(run, attributes={**run.attributes, "otel_ml.model.version": "aa"})
        for run in make_runs(experiment, "pfpx")
    ]
    service.store.take(project, experiment, *tried)
    [version] = find_versions(service.store.reader, project, "answer")
    assert (version.runs, version.p50_ms, version.experiment_runs) == (0, None, 4)
    page = ask(service.app, f"/projects/{project}/models/answer").text
    assert ">0 runs</a>" in page
    assert "4 runs of experiments" in page
    listed = ask(service.app, f"/projects/{project}/models").text.replace("</a>", "")
    assert '>0<i class="u"> runs</i>' in listed
    service.store.take(project, make_call("answer", {"otel_ml.model.version": "aa"}))
    assert ">1 run</a>" in ask(service.app, f"/projects/{project}/models/answer").text


def test_verdict_of_few_runs(service: Service, project: str) -> None:
    """The verdict on versions with few runs states when they will be compared."""
    now_ns = time.time_ns()
    for version, hours in (("aa", 3), ("bb", 2)):
        call = make_call(
            "answer", {"otel_ml.model.version": version}, start_ns=now_ns - hours * HOUR_NS
        )
        service.store.take(project, call, now_ns=now_ns)
    shown = f"/projects/{project}/model-verdict?model=answer&version=2&against=1&default=1"
    page = ask(service.app, shown).text
    assert "No run failed, and no judge scored both versions." in page
    assert "compared when each version has 30 runs" in page
