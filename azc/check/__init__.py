"""Names, types, models and spaces: from syntax tree to checked program."""
