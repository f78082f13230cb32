"""Addresses that have led open redirects astray: to be written wherever a stranger can write, and found nowhere again.

Each has `evil` in it, in some letters: whatever comes back with that was followed, or at least repeated.
"""

from typing import Final

EVIL: Final = "evil.example"
OURS: Final = "http://service"
"""What a service under test is called by its browsers."""

_SLASHES = (
    *("//", "///", "////", "/ /", "/\t/", "/\n/"),
    *(r"/\/", r"/\\/", r"\\//", r"/\//", r"\/", "/\\", "\\\\", "\\\\\\"),
)
_USERINFO = ("@", ":x@", ":80@", ":@", r"\@", r"\x:y@", r"\confirm\me@", "#@", "?@", "%40", "&@", ";@")
_PORTS = (":evil", ":99999/evil", ":-1/evil", ":80:evil", ":0/evil")
_SCRIPTS = (
    *("javascript", "JaVaScRiPt", "\njavascript", "java\nscript", "java\tscript", "\x01javascript", " javascript"),
    *("javascript&colon;", "javascript%3a", "vbscript", "livescript"),
)
_CONTROLS = ("\x00", "\x08", "\x09", "\x0a", "\x0b", "\x0c", "\x0d", "\x1f", " ", "\x7f", "\x85", "\xa0", "\u2028")
_LINE_ENDS = ("\r\n", "\n", "\r", "%0d%0a", "%0a", "\u560d\u560a", "\x85", "\u2028")
_UP = ("%2F%2F", "/%2f%2f", "%252F%252F", "/%5c", "%5c%5c", "/..//", "/.//", "/%2e%2e//", "..//", "./")
_WIDE = "\uff45\uff56\uff49\uff4c"  # browsers read these four letters as `evil`

VECTORS: Final = (
    *(f"{scheme}{slashes}{EVIL}" for scheme in ("", "http:") for slashes in ("", "/", *_SLASHES)),
    *(f"{scheme}://{EVIL}" for scheme in ("https", "ftp", "HTTP", "https+x", "1https", "", "x-evil", "intent")),
    *(f"{scheme}:evil" for scheme in ("blob", "about", "view-source", "file", "mailto", "data", "999999999")),
    # Names that begin or end as ours, userinfo and what only looks like it, ports
    *(f"{OURS}{between}{EVIL}" for between in (*_USERINFO, ".", "-", "%2e", "%00.", "\u200b.", "\u202e")),
    *(f"{OURS}{port}" for port in _PORTS),
    *(f"http:\\\\service\\@{EVIL}", f"//service@{EVIL}", f"https:service@{EVIL}", f"http://{EVIL}/service"),
    *(f"http://{EVIL}:80", f"http://{EVIL}:0", f"http://{EVIL}.", f"http&colon;//{EVIL}"),
    # Scripts
    *(f"{script}:alert('evil')" for script in _SCRIPTS),
    *("data:text/html,<script>alert('evil')</script>", "data:text/html;base64,evil"),
    *(f"'\"><a href=//{EVIL}>", f"</script><base href=//{EVIL}>", f"\r\n\r\n<script src=//{EVIL}></script>"),
    # Controls in front, and headers of one's own
    *(f"{control}//{EVIL}" for control in _CONTROLS),
    *(f"{end}{name}: {EVIL}" for end in _LINE_ENDS for name in ("Location", "Set-Cookie", "Refresh")),
    # Names in other letters
    *(f"http://{_WIDE}.example", "//evil\u3002example", "//evil\uff0eexample", "//evil%E3%80%82example"),
    *("//\u24d4\u24e5\u24d8\u24db.example", "http://service\uff0f" + EVIL, "http://service\u2044" + EVIL),
    *("http://xn--evil.example", "http://serv\u0131ce.evil.example", "//\ufffd.evil"),
    # Addresses
    *("http://[2001:db8::1/evil", "http://2001:db8::1]/evil", "http://[evil]", "http://[::1]@evil"),
    "http://0x7f000001/evil",
    # Encoded once more, ways up, and what another parameter might begin with
    *(f"{up}{EVIL}" for up in (*_UP, "?next=//", "#//", "&next=//", ";//", "&state=//", "?")),
)  # fmt: skip
"""What browsers and parsers have read in two ways; Django's tests of redirects have most kinds of them."""
