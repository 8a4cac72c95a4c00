"""How fast a machine fits: synthetic batches, rates, and the ceilings they are held against."""
