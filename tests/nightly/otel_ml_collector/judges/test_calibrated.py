"""A judge without code is compared with reviewers, who label its runs through the API."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.judged_shop import JudgedShop, judging
from tests.support.keys import ask
from tests.support.language_model import language_model


def test_calibrated(tmp_path: Path) -> None:
    """With 50 labels of a random queue, the judge's page corrects its pass rate, and warns."""
    with language_model() as model, judging(tmp_path, model) as collector:
        _check(JudgedShop(collector, model))


def _check(shop: JudgedShop) -> None:
    def post(method: str, path: str, body: Mapping[str, Any]) -> None:
        address = f"/api/v1/projects/{shop.project}/{path}"
        text = json.dumps(body).encode()
        kind = {"content_type": "application/json"}
        answer = ask(shop.collector, address, method=method, body=text, **kind)
        assert answer.status == 200, answer.text

    shop.save()
    shop.send(50)
    judged = shop.judged(50)
    labels = [{"label": "good", "passed": True}, {"label": "bad", "passed": False}]
    queue = {"judge": "fits", "labels": labels, "order": "random", "people": 2}
    post("PUT", "queues/q", queue)
    answers = [
        {"run_id": run["run_id"], "label": "bad" if place < 10 else "good", "annotator": who}
        for place, run in enumerate(judged)
        for who in (("ann", "bob") if place < 25 else ("ann",))
    ]
    with ThreadPoolExecutor(16) as senders:
        list(senders.map(partial(post, "POST", "queues/q/answers"), answers))
    agreement = shop.collector.get(f"/projects/{shop.project}/judges/fits/agreement")
    corrected, benchmark = agreement["corrected"], agreement["benchmark"]
    assert (corrected["judge_rate"], corrected["sample"]) == (1.0, 50)
    assert corrected["rate"]["value"] == pytest.approx(0.8)
    assert 0.6 < corrected["rate"]["low"] < 0.8 < corrected["rate"]["high"] < 0.95
    assert (benchmark["runs"], benchmark["judge"], benchmark["people"]) == (25, 0.6, 1.0)
    assert benchmark["is_worse"]
    page = shop.collector.get_text(f"/projects/{shop.project}/judge-people?judge=fits")
    assert "The judge passes 100" in page
    assert "reviewers would pass about 80" in page
    assert "The judge agrees with reviewers less than they agree with each other" in page
    page = shop.collector.get_text(f"/projects/{shop.project}/judges/fits")
    assert "Edit rubric" in page
