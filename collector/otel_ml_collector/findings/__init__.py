"""The findings of monitoring: slices that are worse, drift, and releases that are worse."""
