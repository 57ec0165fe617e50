import otel_ml.compat.raymon.types as rt
from otel_ml.compat.raymon import RaymonAPI

api = RaymonAPI()
