"""The default client behind ``otel_ml.trace`` and the other module-level functions.

The client is configured by environment variables and created on first use.
"""

from typing import Final

from otel_ml.client import Client

_CLIENT: Final = Client()

trace = _CLIENT.trace
assess = _CLIENT.assess
add_judge = _CLIENT.add_judge
evaluate = _CLIENT.evaluate
judge = _CLIENT.judge
aevaluate = _CLIENT.aevaluate
data_metrics = _CLIENT.data_metrics
profile = _CLIENT.profile
import_table = _CLIENT.import_table
replay = _CLIENT.replay
run = _CLIENT.run
record_call = _CLIENT.record_call
flush = _CLIENT.flush
instrument = _CLIENT.instrument
uninstrument = _CLIENT.uninstrument
