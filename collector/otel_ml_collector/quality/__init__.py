"""The pages and the JSON API of quality: how good predictions were."""
