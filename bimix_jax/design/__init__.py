"""From a fit and its noise to the runs that would teach most about the decision."""
