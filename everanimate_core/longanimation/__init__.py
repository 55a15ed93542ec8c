"""LongAnimation (arXiv 2507.01945): a long line-art animation is coloured, window by window."""
