"""The doors of `tunesmith keys`."""

import time
from contextlib import closing

from tunesmith.api.keys import service
from tunesmith.api.keys.schema import (
    CreateKeyConfig,
    CreateKeyResult,
    KeyFacts,
    ListKeysConfig,
    ListKeysResult,
    RevokeKeyConfig,
    RevokeKeyResult,
)
from tunesmith.api.place import store_of
from tunesmith.core.job import Job


def create(config: CreateKeyConfig, job: Job) -> CreateKeyResult:
    """Make a key; a server of this workspace knows it from now on, and asks everybody for one.

    Raises UserError for a project of another organisation and a store that cannot be used.
    """
    with closing(store_of(job, config.database)) as store:
        is_first = not service.any_made(store)
        row, key = service.create(store, config, int(time.time()))
    if is_first:
        job.progress.say("from now on this workspace's server refuses whoever shows no key")
    return CreateKeyResult(**service.facts(row), key=key)


def list_keys(config: ListKeysConfig, job: Job) -> ListKeysResult:
    """All keys.  Raises UserError for a store that cannot be used."""
    with closing(store_of(job, config.database)) as store:
        return ListKeysResult(keys=tuple(KeyFacts(**service.facts(row)) for row in service.every(store)))


def revoke(config: RevokeKeyConfig, job: Job) -> RevokeKeyResult:
    """Refuse a key from now on.  Raises UserError for an id that no key has."""
    with closing(store_of(job, config.database)) as store:
        return RevokeKeyResult(**service.facts(service.revoke(store, config.key, int(time.time()))))
