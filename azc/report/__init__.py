"""Reports of runs: a saved HTML page, and a live one served by `azc serve`."""
