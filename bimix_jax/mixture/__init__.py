"""Search for the best mixture on the simplex from the coefficients of a fit."""
