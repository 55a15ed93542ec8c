"""The drawn world, of which every pixel is known."""
