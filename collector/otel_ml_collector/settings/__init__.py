"""The collector's settings: declaration, sources and parsing."""
