"""How a model is made; torch is imported here alone."""
