"""What is on disk, how long it is kept, and what is deleted."""
