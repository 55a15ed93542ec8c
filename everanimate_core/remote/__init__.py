"""Running a graph on a ComfyUI that is up, over HTTP: for scripts, and for computers without a screen."""
