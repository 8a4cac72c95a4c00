"""Many sweeps at once: in chunks of one shape, on every device, from files to files."""
