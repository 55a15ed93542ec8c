"""The numbers of the method, as released."""

# Share of the training samples that are first chunks; of the others, of those whose anchors are all the reference.
FIRST, REFERENCE_ONLY = 0.2, 0.05
