"""From a photo to its captions."""
