"""What a reader sees on each page and in each command's output, for one store with fixed data."""
