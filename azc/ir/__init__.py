"""The graph of an attention program, its text form, its interpreter, its cost."""
