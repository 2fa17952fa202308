"""Chat completions that clients asked to keep: the same rows as the record's."""
