"""The toy's VAE and transformers, with their weights."""
