"""Every test of the server runs on both databases."""

import secrets

import pytest
import sqlalchemy as sa
from postgres import cluster


@pytest.fixture(scope="session")
def postgres():
    """The folder of a running server's socket."""
    with cluster() as folder:
        yield folder


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    """URL of an empty database."""
    if request.param == "sqlite":
        yield tmp_path / "server" / "store.sqlite"
        return
    socket = request.getfixturevalue("postgres")
    url = f"postgresql://tunesmith@/{{}}?host={socket}"
    name = f"t{secrets.token_hex(8)}"
    admin = sa.create_engine(
        url.format("postgres").replace("postgresql", "postgresql+psycopg", 1), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield url.format(name)
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()
