"""The JSON API under ``/api/v1``: one module of routes a topic, each over one `find`."""
