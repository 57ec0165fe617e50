"""Questions to the store: one filter language and one `find` behind API and pages."""
