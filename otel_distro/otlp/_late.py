"""What a sender's thread needs beside what the application calls, imported together when it starts.

Python looks for the last of them when a host name is resolved.
"""

import email.utils
import encodings.idna
import http.client

from . import _http, stats, voice

__all__ = ["_http", "email", "encodings", "http", "stats", "voice"]
