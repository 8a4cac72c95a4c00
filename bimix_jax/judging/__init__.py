"""The judge: which law a sweep supports, and whether it is enough to tell."""
