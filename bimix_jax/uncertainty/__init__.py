"""Uncertainty of a fit and of its recommended mixture: resampling, intervals, influence."""
