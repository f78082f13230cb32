"""Answers to queries that the caller has already (RFC 9110 §8.8.3, §13.1.2).

Nobody on the way may keep an answer; a client that asks often may, and is then told in a line that it is still so.
"""

from hashlib import blake2b

from chassis.http.request_context import Headers
from chassis.http.response import HttpResponse

NOT_MODIFIED = 304

_BYTES = 12  # of a digest: two answers of one address that are alike in it are as likely as a stolen token


def unless_known(answer: HttpResponse, headers: Headers) -> HttpResponse:
    """The answer to a query with its entity tag; without its body, if the caller says to have that very one."""
    tag = b'"%s"' % blake2b(answer.body, digest_size=_BYTES).hexdigest().encode()
    tagged = (*answer.headers, (b"etag", tag))
    if _has(headers.get(b"if-none-match", b""), tag):
        return HttpResponse(NOT_MODIFIED, tagged)
    return HttpResponse(answer.status, tagged, answer.body)


def _has(known: bytes, tag: bytes) -> bool:
    """Whether one of the tags is this one; the gateway has made it a weak one where it has compressed the answer."""
    return tag in {one.strip().removeprefix(b"W/") for one in known.split(b",")}
