"""Drop-in replacements for other systems: change the import line and keep the code."""
