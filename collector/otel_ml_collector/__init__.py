"""The collector: receives spans, stores the records made from them, and answers queries."""
