"""Speed of fits on a machine: synthetic batches, rates, and the ceilings they are compared with."""
