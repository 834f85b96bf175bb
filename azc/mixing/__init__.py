"""Token mixing of the layers of a model."""
