"""The columnar store: embedded chDB or a ClickHouse server, one schema and one SQL for both."""
