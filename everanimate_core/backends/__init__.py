"""The same engine without ComfyUI: Wan-Animate and the Wan VAE as diffusers implements them."""
