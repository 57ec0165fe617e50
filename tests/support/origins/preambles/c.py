from otel_ml.compat.digitalhub import get_or_create_project

project = get_or_create_project("churn")
