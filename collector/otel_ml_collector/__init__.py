"""The collector: receives spans, keeps run, model-version and metric records, answers for them."""
