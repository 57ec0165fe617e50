"""Traced functions of a script in other processes, with the libraries that send them there."""

import pytest

from tests.support.interop.pickles import check_pickles
from tests.support.interop.receiver import Receiver


@pytest.mark.parametrize("library", ["cloudpickle", "dask", "dill", "joblib", "ray"])
def test_function_of_a_script_runs_elsewhere(library: str, ours: Receiver) -> None:
    """A traced function of a script is pickled by value, and its calls are recorded elsewhere."""
    check_pickles("pickles", library, ours)
