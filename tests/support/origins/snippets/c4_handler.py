from otel_ml.compat.digitalhub import handler


@handler(outputs=["model"])
def train(project, rate):
    model_params = {"framework": "sklearn", "parameters": {"rate": rate}}
    model = project.log_model(name="classifier", kind="mlflow", **model_params)
    model.log_metrics({"accuracy": 0.95})
    return model
