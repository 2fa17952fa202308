"""What the keys of rows mean: a module for each family of layouts; `registry.SHAPES` names them all."""
