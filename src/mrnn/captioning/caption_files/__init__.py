"""Captions on disk: files that grow by a photo at a time, and files beside photos."""
