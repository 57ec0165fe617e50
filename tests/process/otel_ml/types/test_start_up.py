"""numpy, pandas and Pillow are only loaded if values need them."""

import subprocess
import sys

PROGRAM = """
import sys
from otel_ml import types

for value in ("text", b"bytes", {"a": (1, None)}, object()):
    types.load(types.dump(types.wrap(value)))
    types.describe(types.wrap(value))
packages = {"numpy", "pandas", "PIL", "pyarrow", "polars", "scipy", "torch", "jax", "matplotlib"}
print(sorted(packages & set(sys.modules)))
"""


def test_packages_are_not_loaded() -> None:
    """Values that are not arrays, tables or images load no package for those."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
