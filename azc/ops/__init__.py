"""The operations of attention programs, each defined in one place."""
