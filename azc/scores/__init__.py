"""Training-free scores: computed for an untrained model from one batch."""
