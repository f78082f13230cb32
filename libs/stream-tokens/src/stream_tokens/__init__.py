"""What a client shows to watch: our stream token and BytePlus' room token, minted alike by every service (SPEC §4).

Pure: reads no clock and makes no chance. Who may watch what, and until when, is for the caller to know.
"""

from stream_tokens.minting import Admission, Minted, Room, mint
from stream_tokens.reading import StreamTokenInvalid, read
from stream_tokens.settings import StreamTokenSettings

__all__ = ["Admission", "Minted", "Room", "StreamTokenInvalid", "StreamTokenSettings", "mint", "read"]
