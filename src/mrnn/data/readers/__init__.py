"""Readers: one per source format, each an iterator of `CaptionedImage`."""
