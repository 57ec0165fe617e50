"""Programs that tests run in other environments; each prints what happened, as JSON."""
