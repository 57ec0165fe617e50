"""The demo: an HTTP service with real models whose calls and trainings are traced and judged."""
