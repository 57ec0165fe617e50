"""The SDK within services of other makes: their real processes, and a real collector."""
