"""The settings of a project: its keys, receivers, retention and prices, and its deletion."""
