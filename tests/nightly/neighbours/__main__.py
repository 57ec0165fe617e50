"""Print the versions of the programs in the tests: ``python -m tests.nightly.neighbours``."""

import sys

from tests.nightly.neighbours.programs import PROGRAMS, version_of

missing = [name for name, file in PROGRAMS.items() if not file.exists()]
if missing:
    sys.exit(f"There is no {', '.join(missing)}: make neighbours")
for program in PROGRAMS:
    print(version_of(program))  # noqa: T201 - it is what the module is for
