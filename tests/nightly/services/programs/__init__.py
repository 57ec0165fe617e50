"""What tests/nightly/services runs: each a module in the environment `.venv-services`."""
