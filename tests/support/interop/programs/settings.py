"""A run through a global provider, under the settings of the environment."""

from opentelemetry import trace

from otel_ml import Client
from tests.support.interop.programs.describe import Facts, answer, describe
from tests.support.interop.programs.services import Service


def run() -> Facts:
    service = Service()
    trace.set_tracer_provider(service.provider)
    client = Client("shop")
    returned = client.trace(name="model")(lambda: "returned")()
    return {
        "returned": returned,
        "spans": [describe(span) for span in service.spans()],
        "flushed": bool(client.flush()),
    }


if __name__ == "__main__":
    answer(run)
