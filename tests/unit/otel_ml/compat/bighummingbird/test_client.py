"""BigHummingbird's client and its tags of judges and data sets."""

import pytest

from otel_ml.compat.bighummingbird import BigHummingbird
from otel_ml.compat.bighummingbird.dataset import Dataset
from otel_ml.compat.bighummingbird.judge import Judge


def score_length(outputs: str) -> int:
    return len(outputs)


def is_long(score: float) -> bool:
    return score > 5


def is_short(score: float) -> bool:
    return score < 5


def test_judge_s_tag_changes_with_its_code() -> None:
    """add_judge returns the same tag for the same judge and another tag if its code differs."""
    handle = BigHummingbird("Concept Project", None)
    tags = [
        handle.add_judge(Judge("length", "", score_length, criteria))
        for criteria in (is_long, is_long, is_short)
    ]
    assert tags[0] == tags[1]
    assert tags[0] != tags[2]
    assert [tag.partition("@")[0] for tag in tags] == ["length"] * 3


@pytest.mark.parametrize("tag", ["any:v1", "", "any@0123456789abcdef"])
def test_unknown_tag_is_refused(tag: str) -> None:
    """A judge tag that add_judge did not return is refused by assess."""
    with pytest.raises(ValueError, match=r"^Unknown judge "):
        BigHummingbird("Concept Project", None).assess(tag)


@pytest.mark.parametrize("tag", ["any:v1", "", "rows@0123456789abcdef"])
def test_unknown_data_set_is_refused(tag: str) -> None:
    """A data set tag that upload_dataset did not return is refused by assess."""
    bhb = BigHummingbird("Concept Project", None)
    judge_tag = bhb.add_judge(Judge("length", "", score_length))
    with pytest.raises(ValueError, match=r"^Unknown data set "):
        bhb.assess(judge_tag=judge_tag, dataset_tag=tag)


def test_data_set_without_description() -> None:
    """A data set needs no description, and the same rows have the same tag."""
    assert Dataset("rows", [1, 2]).tag == Dataset("rows", [2, 1], "two").tag
