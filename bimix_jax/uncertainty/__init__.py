"""How sure a fit and the mixture it recommends are: resampling, intervals, influence of runs."""
