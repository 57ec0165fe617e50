"""The demo: real models behind a small HTTP service, traced, judged, trained and edited."""
