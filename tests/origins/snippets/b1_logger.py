from otel_ml.compat.raymon import RaymonAPILogger, Trace

logger = RaymonAPILogger(project_id=project_id)
trace = Trace(logger=logger, trace_id=None)
