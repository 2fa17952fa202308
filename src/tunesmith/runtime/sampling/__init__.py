"""Generation: requests in, events out, many requests in one batch.

`port.py` says what a request, an event and a sampler are and imports no torch; `engine.py` is the sampler on
the ragged core, `static.py` the one for models that it cannot step, `open.py` chooses between them, and
`thread.py` gives a sampler a thread of its own.
"""
