"""What can go wrong in a way the caller should read, not debug."""


class StackError(Exception):
    """The stack cannot do what was asked. The message is for people and says what to do."""
