"""Bulk work: shards of photos to shards of captions or embeddings, on one machine or many."""
