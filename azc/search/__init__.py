"""Architecture search: strategies, evaluation of candidates, and stored runs."""
