"""The process that reads a large file for `parcels.read_parcels`: python -m tunesmith.data.reader FD TASK."""

import sys
import traceback
from multiprocessing.connection import Connection

from tunesmith.data.parcels import Task, send, send_error


def main(descriptor: int, task: str) -> None:
    """Send the parcels of a file, then how it ended."""
    with Connection(descriptor, readable=False) as connection:
        try:
            for parcel in Task.from_json(task).parcels():
                send(connection, parcel)
            connection.send_bytes(b'{"done": true}')
        except BrokenPipeError:
            return  # nobody listens any more
        except Exception as error:  # whatever it is, the other process says it
            send_error(connection, error, traceback.format_exc())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
