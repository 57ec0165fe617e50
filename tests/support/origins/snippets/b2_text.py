trace.info("You can log whatever you want here")
