"""The readers of strangers' files, on many more broken files than the fast tests make.

`make fuzz` goes on from here, guided by coverage.
"""

import json

import pytest
from container_files import SAME_ROWS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunesmith.core.errors import UserError
from tunesmith.core.formats.read import find_problems, read_rows

GOOD = json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]})
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ("messages", "role", "content", "weight", "tool_calls", "name", "type", "text", "x")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
LINES = st.binary(max_size=80) | VALUES.map(lambda value: json.dumps(value).encode())


@settings(max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(LINES, max_size=6), at=st.integers(0, 200), broken=st.binary(max_size=6))
def test_no_file_crashes_the_reader(tmp_path_factory, lines, at, broken):
    whole = b"\n".join([GOOD.encode(), *lines, GOOD.encode()]) + b"\n"
    path = tmp_path_factory.getbasetemp() / "fuzzed.jsonl"
    path.write_bytes(whole[:at] + broken + whole[at:])
    for problem in find_problems(path):
        assert problem.line >= 1
        assert problem.reason


@pytest.mark.parametrize("name", SAME_ROWS)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, 9999), gone=st.integers(0, 40), broken=st.binary(max_size=40))
def test_no_broken_container_crashes_its_reader_and_every_row_stands_once(
    tmp_path_factory, name, at, gone, broken
):
    content = SAME_ROWS[name]
    at %= len(content)
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content[:at] + broken + content[at + gone :])
    outcomes, lines = set(), []
    try:
        for row in read_rows(path):
            outcomes.add(row.outcome)
            lines.append(row.line)
    except UserError:
        pass  # a fault of the whole file, said in one message
    assert outcomes <= {"kept", "changed", "refused", "blank"}
    assert len(set(lines)) == len(lines)
