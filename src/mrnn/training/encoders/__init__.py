"""Image encoders made of torch networks, and their export to ONNX files."""
