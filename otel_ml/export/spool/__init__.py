"""A bounded queue of encoded spans on disk, for calls that must survive their process.

A span is in the file before `Spool.append` returns, so kill -9 of the process loses none: the
kernel holds what was written. A power cut may lose the last seconds: nothing is fsynced.
"""

from otel_ml.export.spool.segment import FrameBatch
from otel_ml.export.spool.spool import Spool, SpoolCounts

__all__ = ["FrameBatch", "Spool", "SpoolCounts"]
