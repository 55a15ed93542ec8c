"""How good a long video stays: metrics over time, drift, seams and flashes, as one report and one plot."""

# Whatever is imported from this package passes here first, so this is the one place that names the extra.
try:
    import matplotlib
    import skimage
    import torchmetrics
except ImportError as error:
    raise ImportError(
        "evaluation needs scikit-image, torchmetrics and matplotlib (pip install 'everanimate[eval]', or "
        f"pip install scikit-image torchmetrics matplotlib); got {error}."
    ) from error

del matplotlib, skimage, torchmetrics
