"""A disk queue of encoded spans, limited in size, for calls that must survive their process.

A span is written to the file before `Spool.append` returns, so ``kill -9`` loses no span: the
kernel keeps written data. A power failure may lose the last seconds, because nothing is fsynced.
"""
