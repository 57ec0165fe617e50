"""What was sent but is not here."""
