"""LoRA training in two stages (arXiv 2605.15042): the memory is learnt first, then to come back from drift.

Films become a set of records once (`precompute`), so that neither text encoder nor CLIP is in memory while training,
and the VAE in stage 2 alone. A sample is a pure function of seed and number: neither process nor order decides it.
"""
