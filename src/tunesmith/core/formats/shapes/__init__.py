"""What the keys of a row mean: a module for each layout that people write."""
