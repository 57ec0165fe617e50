"""Calls of OpenAI's client under OpenLIT."""

import json
import os
import tempfile

import openai
import openlit

from tests.support.recorded.recorders._openai import MODEL, call_all


def main() -> None:
    """Make the calls, each span sent at once."""
    price = {"promptPrice": 0.25, "completionPrice": 0.5}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as prices:  # else it asks the network
        json.dump({"chat": {MODEL: price, f"{MODEL}-2024-07-18": price}}, prices)
        prices.flush()
        _start(prices.name)
        call_all(openai.OpenAI())


def _start(prices: str) -> None:
    openlit.init(
        application_name="recorded",
        environment="tests",
        otlp_endpoint=os.environ["RECORDED_ADDRESS"],
        disable_batch=True,
        disable_metrics=True,
        disabled_instrumentors=["httpx"],
        pricing_json=prices,
    )


if __name__ == "__main__":
    main()
