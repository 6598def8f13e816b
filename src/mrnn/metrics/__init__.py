"""Measures of captions and rankings: pure functions on words and ranks."""
