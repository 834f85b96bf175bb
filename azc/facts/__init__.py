"""What is known of the values of a graph: analyses that lowering and passes read."""
