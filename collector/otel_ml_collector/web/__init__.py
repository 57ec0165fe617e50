"""Server-rendered pages over the same `find` as the API."""
