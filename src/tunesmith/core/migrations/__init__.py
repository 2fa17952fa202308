"""Steps of the record's schema, applied by `core.record` when it opens a file."""
