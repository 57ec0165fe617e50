"""``python -m otel_ml_collector``: the program ``otel-ml``."""

import sys

from otel_ml_collector.cli.program import main

sys.exit(main())
