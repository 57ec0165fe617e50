"""Programs that run in the environments of libraries; each makes one of them export."""
