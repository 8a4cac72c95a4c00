"""A mixture as what a training stack takes: tokens, epochs, weights and paths."""
