"""The JSON API under ``/api/v1``: a module of routes for each topic, each over its `find`."""
