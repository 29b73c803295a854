"""The face detectors: YuNet, the reference's YOLOv5-face, SCRFD."""
