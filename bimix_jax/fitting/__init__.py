"""Fits of laws to losses: residuals, projection, optimisers, the loop, the verb."""
