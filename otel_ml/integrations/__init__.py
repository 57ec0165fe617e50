"""Other frameworks: what they recorded, what they record, and a start without a change of code."""
