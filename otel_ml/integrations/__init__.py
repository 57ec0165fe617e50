"""Other frameworks: imports from them, instrumentation, and a start without a change of code."""
