"""Training logs, as loggers export them, read as a sweep."""
