"""Examples to rows of other layouts; `registry.write_row` proves each row by reading it again."""
