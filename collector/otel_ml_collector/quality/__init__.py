"""Quality of predictions whose truth came later: targets, figures, pages."""
