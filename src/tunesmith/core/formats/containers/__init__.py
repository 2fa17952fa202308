"""What rows come in: a module for each kind of file gives `RawRow`s."""
