"""Design of further runs: from a fit and its noise to the runs that lower the regret most."""
