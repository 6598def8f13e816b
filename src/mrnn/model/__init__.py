"""What a trained model is: read only, without torch."""
