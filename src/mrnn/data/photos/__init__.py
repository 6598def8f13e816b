"""Where photos are, and what they are called."""
