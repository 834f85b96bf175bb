"""Text and tasks to train on: reading, tokenizing, batching."""
