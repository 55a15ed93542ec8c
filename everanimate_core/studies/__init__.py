"""What uses all of the rest: the demo, and the paper's ablation."""
