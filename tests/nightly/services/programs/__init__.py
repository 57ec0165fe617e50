"""The programs of tests/nightly/services, run as modules in the environment `.venv-services`."""
