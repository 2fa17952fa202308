"""The OpenAI API beyond inference: files, uploads, fine-tuning jobs and their models, over HTTP.

In: requests of OpenAI's clients.  Out: files, jobs and versions in the store, trained by the train room's
verb in processes of their own, answered for by the serve room.

`app.py` adds the routes to the serve room's application; each endpoint is a folder of its own with routes,
schema and service.
"""
