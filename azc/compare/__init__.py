"""What programs and models are made of, and how two of them differ."""
