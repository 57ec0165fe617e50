"""Ground truth: what a model predicts, and how good its predictions were."""
