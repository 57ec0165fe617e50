"""A bounded queue of encoded spans on disk, for calls that must survive their process.

A span is in the file before `Spool.append` returns, so kill -9 of the process loses none: the
kernel holds what was written. A power cut may lose the last seconds: nothing is fsynced.
"""
