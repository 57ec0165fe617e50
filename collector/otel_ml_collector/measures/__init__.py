"""The numbers of recorded runs, each defined once: runs, errors, latency, tokens, cost, scores."""
