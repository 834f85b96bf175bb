"""Evolution of programs under a budget, in a run that survives a kill."""
