"""Fine-tuning jobs: a row in the store, a worker process that does the work, events and checkpoints."""
