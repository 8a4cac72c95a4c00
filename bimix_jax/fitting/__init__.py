"""From measured losses to coefficients: residuals, projection, optimisers, the loop, the verb."""
