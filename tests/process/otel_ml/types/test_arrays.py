"""Cases of tests/unit/otel_ml/types/test_arrays.py that start processes."""

import subprocess
import sys

import pytest

BIG = """
import resource
import numpy as np
from otel_ml.types import array_form, dump, wrap
from tests.support.examples import examples

data = wrap(np.ones(8 * 1024 * 1024))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
dump(data)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system counts otherwise")
def test_writing_takes_a_few_times_the_size() -> None:
    """Writing an array of 64 MiB takes less than four times that in additional memory."""
    done = subprocess.run([sys.executable, "-c", BIG], capture_output=True, check=True, timeout=180)
    assert int(done.stdout) < 4 * 64 * 1024
