"""tunesmith: the whole job of fine-tuning a language model, in one tool."""

__version__ = "0.1.0"
