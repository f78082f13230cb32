"""What can go wrong in a way the caller should read, not debug."""


class StackError(Exception):
    """The stack cannot do what was asked. The message is for people and says what to do."""


class NotInstalled(StackError):
    """Something must be on the machine that only its administrator can install. The message has the command."""
