"""Steps of the schemas, applied by `core.database`: `versions` of the record, `reviews` of the reviews."""
