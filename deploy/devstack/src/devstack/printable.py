"""What strangers wrote, made fit for a terminal."""


def printable(text: str) -> str:
    r"""`text` with whatever a terminal might obey, or not show, spelt out: escape is `\x1b`. Lines and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else _spelt(char) for char in text)


def _spelt(char: str) -> str:
    return char.encode("unicode_escape").decode()
