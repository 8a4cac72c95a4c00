"""What is doubtful about a sweep that could be read; `checks` refuses what could not."""
