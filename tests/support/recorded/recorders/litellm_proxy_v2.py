"""LiteLLM's proxy under the second callback for OpenTelemetry that it has."""

from tests.support.recorded.recorders.litellm_proxy import main

if __name__ == "__main__":
    main()
