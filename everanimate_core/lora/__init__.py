"""LoRA files: every naming in use, read, fitted, merged, saved."""
