"""The import paths of other systems: change the import line and go on."""
