"""The JSON API under ``/api/v1``: a module of routes for each topic, which calls its `find`."""
