"""What numpy, pandas and Pillow cost is paid by who uses them."""

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
    """Who has no array, table or image loads no package for them."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
