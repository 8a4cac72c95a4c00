"""Training logs, as loggers export them, to a sweep."""
