"""A run as one page: HTML that needs nothing but itself."""
