"""Signs links to images that imgkeep serves.

Python 3.8 or later, standard library only.

    signer = imgkeep.Signer("https://img.example.net", secret)
    signer.link("https://example.com/cat.jpg", "250x250")
"""

import base64
import hashlib
import hmac
import time
from datetime import datetime, timezone

__all__ = ["Signer"]


class Signer:
    """Signs links. It may be shared by threads."""

    def __init__(self, base, secret, bucket="i"):
        """
        base is what stands before a link, as "https://img.example.net", or "".
        secret is the one that the server has too, str or bytes.
        bucket is that of links which name no other.
        """
        if not secret:
            raise ValueError("imgkeep: the secret is empty")
        self._base = base.rstrip("/")
        self._secret = secret.encode() if isinstance(secret, str) else bytes(secret)
        self._bucket = bucket

    def __repr__(self):
        return f"<imgkeep.Signer of {self._base}>"  # not the secret

    def link(self, url, size="full", bucket=None, proxy=False, at=None):
        """
        Returns the link of an image's URL, which is str, not escaped for HTML.

        size is full, info, or height x width as in 250x250, 150x, x200. proxy
        serves the image and does not store it; the size is full then. at is the
        unix time of signing; None means now.
        """
        if proxy and size != "full":
            raise ValueError("imgkeep: what is not stored has the size full only")
        bucket = self._bucket if bucket is None else bucket
        ext = _base64url(url.encode()) + ("/proxy" if proxy else "")
        # The year is the one that the ISO week belongs to, not the calendar's;
        # weeks begin in UTC. (strftime("%G") has no leading zeros everywhere.)
        year, week, _ = datetime.fromtimestamp(time.time() if at is None else at, timezone.utc).isocalendar()
        key = self._secret + b"%04d%02d" % (year, week)
        mac = hmac.new(key, f"{bucket}/{ext}".encode(), hashlib.sha256).digest()
        return f"{self._base}/{bucket}/{size}/{_base64url(mac[:12])}/{ext}"


def _base64url(data):
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
