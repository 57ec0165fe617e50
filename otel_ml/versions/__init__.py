"""What a model version is made of, and how it is found."""
