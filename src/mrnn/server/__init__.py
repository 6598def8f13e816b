"""Captions and search by HTTP, and the page for people."""
