"""Projects and what they hold."""
