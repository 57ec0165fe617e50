"""The filter language: what it reads, its fields, its SQL, and what may be typed next."""
