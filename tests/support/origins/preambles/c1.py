model = project.log_model(name="classifier", kind="sklearn", rate=0.1)
run = project.run("fit", rate=0.1)
