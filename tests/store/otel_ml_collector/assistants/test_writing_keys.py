"""The keys that assistants need for writing."""

from pathlib import Path

from otel_ml_collector.access import ANNOTATE, INGEST, READ, Access
from otel_ml_collector.assistants.definitions import ALL_TOOLS, TOOLS
from otel_ml_collector.keyring import Keyring
from tests.process.otel_ml_collector.assistants.test_writes import call, list_tools
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import id_of, make_call
from tests.support.otel_ml_collector.stores import open_service


def test_keys(tmp_path: Path) -> None:
    """If the store has keys, a key with the scope annotate can write; its name is recorded."""
    with open_service(tmp_path, mcp_writes="true") as service:
        ring: Keyring = service.app.state.services.find(Keyring)
        reads = ring.add(Access("", "reads", frozenset({READ, INGEST}), ("shop",))).text
        says = ring.add(Access("", "my agent", frozenset({READ, ANNOTATE}), ("shop",))).text
        run = make_call("answer")
        service.store.take("shop", run)
        service.store.take("other", make_call("secret"))
        given = {"runs": [id_of(run)], "judge": "triage", "label": "timeout"}
        reader = {"authorization": f"Bearer {reads}"}
        assert [tool["name"] for tool in list_tools(service, **reader)] == list(TOOLS)
        assert call(service, "add_feedback", reader, **given) == "Unknown tool 'add_feedback'"
        agent = {"authorization": f"Bearer {says}"}
        assert len(list_tools(service, **agent)) == len(ALL_TOOLS)
        assert call(service, "add_feedback", agent, **given)["stored"] == 1
        elsewhere = call(service, "add_feedback", agent, project="other", **given)
        assert elsewhere == "There is no project 'other'"
        found = ask(service.app, f"/api/v1/runs/{id_of(run)}", headers=agent).json
        [said] = found["evaluations"]
        assert (said["source"], said["annotator"], said["label"]) == (
            "agent",
            "my agent",
            "timeout",
        )
