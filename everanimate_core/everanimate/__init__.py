"""The method of the paper (arXiv 2605.15042), equation by equation."""
