from otel_ml.compat.raymon import Trace, RaymonAPILogger

logger = RaymonAPILogger(project_id=project_id)
trace = Trace(logger=logger, trace_id=None)
