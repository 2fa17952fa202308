"""Files: training data that comes in, and results that go out."""
