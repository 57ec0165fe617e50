"""Server-rendered pages, on top of the same `find` as the API."""
