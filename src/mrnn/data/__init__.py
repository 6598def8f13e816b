"""Photos and captions on disk."""
