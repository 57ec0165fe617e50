"""The pages and the JSON API of monitoring, and the thread that keeps its findings fresh."""
