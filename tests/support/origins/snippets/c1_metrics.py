metrics = {"loss": 0.002, "accuracy": 0.95}
model.log_metrics(metrics)
run.log_metrics(metrics)
run.log_metrics({"loss": 0.001})
run.log_metric("epochs", [1, 2, 3])
