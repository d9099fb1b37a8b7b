"""Who takes part, one adapter a file."""
