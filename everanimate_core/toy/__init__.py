"""A small procedural world with exact ground truth and networks trained on it, for demos, tests and ablations."""
