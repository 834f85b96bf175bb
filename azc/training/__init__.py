"""Training a model and measuring it."""
