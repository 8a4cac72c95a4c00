"""A mixture in the form that a training stack reads: tokens, epochs, weights and paths."""
