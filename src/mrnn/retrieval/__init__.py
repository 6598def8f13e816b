"""Photos for a sentence, and sentences for a photo."""
