"""What finds the people in a frame: MediaPipe's networks in process, or detectors in ONNX files."""
