"""Records calls of other libraries' models, such as scikit-learn's, without decorators."""
