    model = project.log_model(name="iris", **model_params)
    model.log_metrics(metrics)
    return [sorted(model_params), metrics, model.handle.version]


import json

print(json.dumps(train(project)))
