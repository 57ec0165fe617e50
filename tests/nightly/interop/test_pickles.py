"""Traced functions of a script work in other processes, with libraries that pickle them."""

import pytest

from tests.support.interop.pickles import check_pickles
from tests.support.interop.receiver import Receiver


@pytest.mark.parametrize("library", ["cloudpickle", "dask", "dill", "joblib", "ray"])
def test_function_of_a_script_runs_elsewhere(library: str, ours: Receiver) -> None:
    """A traced function of a script is pickled by value and recorded in other processes."""
    check_pickles("pickles", library, ours)
