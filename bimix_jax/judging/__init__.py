"""The judge: the law that a sweep supports, and whether the sweep suffices to tell."""
