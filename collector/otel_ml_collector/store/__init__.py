"""The columnar store: embedded chDB or a ClickHouse server, with the same schema and SQL."""
