"""The text of azg programs: syntax tree, parser, formatter, differ."""
