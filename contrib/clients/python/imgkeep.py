"""Signs links to images that imgkeep serves.

Python 3.8 or later, standard library only.

    signer = imgkeep.Signer("https://img.example.net", secret)
    signer.link("https://example.com/cat.jpg", "250x250")
"""

import base64
import hashlib
import hmac
import re
import time
from datetime import datetime, timezone

__all__ = ["Signer"]

# Secrets that stand in examples.
_WELL_KNOWN = {
    b"changeme", b"change-me", b"secret", b"password", b"example", b"imgkeep", b"0123456789abcdef", b"1234567890123456",
}
_BASE = re.compile(r"(?:(?:https?:)?//[A-Za-z0-9._:\[\]-]+)?(?:/[A-Za-z0-9._~%-]*)*")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BUCKET = re.compile(r"[a-z0-9]{1,16}")
_SIZE = re.compile(
    r"[1-9][0-9]{0,4}x(?:[1-9][0-9]{0,4})?|x[1-9][0-9]{0,4}"
    r"|(?![0-9]*x[0-9]*\Z)[a-z][a-z0-9_-]{0,22}"  # a preset; full and info have its form
)


class Signer:
    """Signs links. It may be shared by threads."""

    def __init__(self, base, secret, bucket="i", allow_weak_secret=False):
        """
        base is what stands before a link, as "https://img.example.net", or "".
        secret is the one that the server has too, str or bytes, or all that its
        file holds: one line end at the end does not count, spaces do.
        bucket is that of links which name no other. allow_weak_secret accepts a
        secret that is short or well known, for tests. ValueError says what the
        server would refuse.
        """
        if not _BASE.fullmatch(base):
            raise ValueError(f"imgkeep: base {base!r}: want one as https://img.example.net, or none")
        self._base = base.rstrip("/")
        self._secret = _parse_secret(secret, allow_weak_secret)
        self._bucket = bucket

    def __repr__(self):
        return f"<imgkeep.Signer of {self._base}>"  # not the secret

    def link(self, url, size="full", bucket=None, proxy=False, at=None):
        """
        Returns the link of an image's URL, which is str, not escaped for HTML.

        size is full, info, or height x width as in 250x250, 150x, x200. proxy
        serves the image and does not store it; the size is full then. at is the
        unix time of signing; None means now. ValueError says what every server
        would refuse.
        """
        bucket = self._bucket if bucket is None else bucket
        _check(url, size, bucket, proxy)
        ext = _base64url(url.encode()) + ("/proxy" if proxy else "")
        # The year is the one that the ISO week belongs to, not the calendar's;
        # weeks begin in UTC. (strftime("%G") has no leading zeros everywhere.)
        year, week, _ = datetime.fromtimestamp(time.time() if at is None else at, timezone.utc).isocalendar()
        key = self._secret + b"%04d%02d" % (year, week)
        mac = hmac.new(key, f"{bucket}/{ext}".encode(), hashlib.sha256).digest()
        path = f"/{bucket}/{size}/{_base64url(mac[:12])}/{ext}"
        if len(path) > 4096:
            raise ValueError("imgkeep: the URL is too long: a link has at most 4096 bytes")
        return self._base + path

    def tagged(self, url, by):
        """
        Returns the URL of an image with a tag that says for whom its link is signed,
        such as the number of a member: what link is to be called with. Then
        `imgkeep list --by` finds all images of the member. Anybody can read the tag in
        the link; nobody else can make one. ValueError says what cannot be a tag.
        """
        if not _TAG.fullmatch(by):
            raise ValueError(f"imgkeep: tag {by!r}: want 1 to 64 of A-Z, a-z, 0-9, _ and -")
        url = url.split("#", 1)[0]
        mac = hmac.new(self._secret, f"imgkeep by\n{by}\n{url}".encode(), hashlib.sha256).digest()
        return f"{url}#imgkeep-by={by}.{_base64url(mac[:12])}"


def _parse_secret(text, allow_weak):
    """The secret in a text: what the server makes of the same text. No error shows it."""
    secret = text.encode(errors="surrogatepass") if isinstance(text, str) else bytes(text or b"")
    secret = re.sub(rb"(?:\r?\n|\r)\Z", b"", secret)
    why = ""
    if not secret:
        why = "the secret is empty"
    elif len(secret) > 4096:
        why = "the secret has more than 4096 bytes"
    elif secret.decode(errors="ignore").encode() != secret:
        why = "the secret is not UTF-8"
    elif re.search(rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]", secret):
        why = "the secret is not one line of text"
    elif allow_weak:
        pass
    elif len(secret) < 16:
        why = f"weak secret: it has {len(secret)} bytes, fewer than 16"
    elif secret.decode().strip().lower().encode() in _WELL_KNOWN:
        why = "weak secret: it is a well-known one"
    elif len(set(secret)) == 1:
        why = "weak secret: it repeats one character"
    if why:
        raise ValueError(f"imgkeep: {why}; `openssl rand -base64 32` makes a good one")
    return secret


def _check(url, size, bucket, proxy):
    """Refuses what no server would serve, whatever its configuration."""
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"imgkeep: bucket {bucket!r}: want 1 to 16 of a-z and 0-9")
    if not _SIZE.fullmatch(size):
        raise ValueError(
            f"imgkeep: size {size!r}: want full, info, height x width as in 250x250, 150x, x200, or the name of a preset"
        )
    if proxy and size != "full":
        raise ValueError("imgkeep: what is not stored has the size full only")
    if not url:
        raise ValueError("imgkeep: the URL is empty")
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", url):
        raise ValueError("imgkeep: the URL holds a control character")


def _base64url(data):
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
