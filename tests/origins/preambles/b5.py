from otel_ml.compat.raymon import RaymonAPI

api = RaymonAPI()
