"""Folders of test data, and the folder of browser tests' screenshots."""

from pathlib import Path
from typing import Final

SUPPORT: Final = Path(__file__).parent
ROOT: Final = SUPPORT.parents[1]
NODE: Final = SUPPORT / "node"
RECORDED_FOLDER: Final = SUPPORT / "recorded"
SCHEMAS: Final = SUPPORT / "otel_ml_collector" / "store" / "schemas"
SCREENSHOTS: Final = ROOT / "tests" / "browser" / "screenshots"  # git ignores it
