"""Private: files and cells as tables of numbers and names, with notes of what was changed."""
