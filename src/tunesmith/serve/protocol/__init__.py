"""What comes in and goes out over HTTP: requests read, answers written, as OpenAI writes them.

Every field of OpenAI's requests is acted on, accepted at the value that changes nothing, or refused by name;
none is ignored when it would change the answer.
"""
