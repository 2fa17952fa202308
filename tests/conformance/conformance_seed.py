"""A pytest plugin for the tests of OpenAI's client: the server's state is put back before each of them."""

import json
import os
import urllib.request

import pytest


@pytest.fixture(autouse=True)
def seeded(request):
    """What the test asks for is there."""
    body = json.dumps({"test": request.node.nodeid}).encode()
    place = os.environ["TEST_API_BASE_URL"].removesuffix("/v1") + "/reseed"
    asked = urllib.request.Request(place, body, {"content-type": "application/json"}, method="POST")
    urllib.request.urlopen(asked, timeout=30).read()
