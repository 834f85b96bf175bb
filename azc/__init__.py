"""azc: attention programs, compiled and evolved."""
