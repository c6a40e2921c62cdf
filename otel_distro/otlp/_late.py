"""What a sender's thread needs beside its own package, imported together when it starts.

Python looks for the last of them when a host name is resolved.
"""

import email.utils
import encodings.idna
import http.client

from . import stats

__all__ = ["email", "encodings", "http", "stats"]
