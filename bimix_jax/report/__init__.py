"""The whole way from a sweep to a decision: the plan, its stages, the report and its files."""
