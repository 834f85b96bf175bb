"""What the layers of a model mix their tokens with."""
