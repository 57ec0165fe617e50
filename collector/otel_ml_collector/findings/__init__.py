"""What monitoring finds: slices that do worst, drift, and releases that are worse."""
