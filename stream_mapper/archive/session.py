"""HTTP to a TAP service: a time limit for every request, and errors that say what the service said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from stream_mapper.archive.answer import RefusedError, TransientError, failure, message_of

_CHUNK = 1 << 20


class Session(requests.Session):
    """A session that pyvo asks through.

    Arguments:
        timeout: Seconds without an answer after which a request has failed.
    """

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self.timeout = timeout

    def request(self, *args: Any, **options: Any) -> Any:
        """A response.

        Raises:
            TransientError: If the connection failed, or the service for a while.
            RefusedError: If the service refuses the request.
        """
        with failures():
            response = super().request(*args, **{**options, "timeout": self.timeout})
            if response.status_code >= 400:
                raise failure(response.text, response.status_code)
        return response

    def download(self, url: str, target: Path) -> None:
        """Write what the service sends to a file; errors as of `request`."""
        with failures(), self.get(url, stream=True) as response, target.open("wb") as file:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)


@contextmanager
def failures() -> Iterator[None]:
    """Call every error of the network, and every answer that cannot be read, a TransientError."""
    try:
        yield
    except (TransientError, RefusedError):
        raise
    except Exception as error:  # of the network, of pyvo, or of what parses the service's XML
        said = message_of(str(error)) or type(error).__name__
        raise TransientError(f"the connection failed ({said})") from error
