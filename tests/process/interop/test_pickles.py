"""Traced functions of a script run in other processes, with this environment's libraries."""

import pytest

from tests.support.interop.environments import NEWEST
from tests.support.interop.pickles import check_pickles
from tests.support.interop.receiver import Receiver
from tests.support.sampling import sampled


@sampled(only=("cloudpickle",))
@pytest.mark.parametrize("library", ["cloudpickle", "joblib"])
def test_function_of_a_script_runs_elsewhere(library: str, ours: Receiver) -> None:
    """A traced function of a script is pickled by value, and its calls elsewhere are recorded."""
    check_pickles(NEWEST, library, ours)
