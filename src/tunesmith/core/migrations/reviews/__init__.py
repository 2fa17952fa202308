"""Steps of the schema of the reviews, in the order of their numbers."""
