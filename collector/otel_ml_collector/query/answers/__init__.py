"""The shapes of the API's answers; pages are rendered from the same objects."""
