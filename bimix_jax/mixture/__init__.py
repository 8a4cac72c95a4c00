"""From coefficients to the best mixture on the simplex."""
