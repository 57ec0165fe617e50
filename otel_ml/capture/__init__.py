"""What a run records of values: which of them, as which text, and with secrets hidden."""
