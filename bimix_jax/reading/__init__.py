"""Private: what people write, as tables, numbers and names, with notes of what was changed."""
