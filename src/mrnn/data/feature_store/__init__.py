"""Stores of features: shards of rows, which shards count, and who may write."""
