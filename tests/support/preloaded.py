"""The state of forked collectors: the program, imported as ``otel-ml serve`` does it.

Its routes are analysed here too, once for all collectors.
"""

import os

from otel_ml_collector.cli.administration import leave_out

leave_out()
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC reads it at import

import otel_ml_collector.serve.server  # noqa: E402, F401 - after leave_out()
from otel_ml_collector.serve.routes import ROUTES  # noqa: E402

HANDLERS = [getattr(route, "app", None) for route in ROUTES]
