"""What can go wrong, named by what the caller can do about it.

Every message is one line that a user can act on: it names the key or the thing, the value, and the fix.
"""


class MoestroError(Exception):
    """Base of every error that Moestro raises on purpose."""


class InvalidInput(MoestroError):
    """The user declared something impossible; nothing was started."""


class NothingFits(InvalidInput):
    """No plan holds the load on what may be rented; the message says what is short."""


class Cancelled(MoestroError):
    """The user stopped the operation; what was begun is recorded and the next run continues it."""


class DeadlineExceeded(MoestroError):
    """The operation's own time limit passed while it waited."""


class CloudError(MoestroError):
    """The cloud refused or could not answer."""


class NotAuthorized(CloudError):
    """The cloud did not accept the credentials."""


class RateLimited(CloudError):
    """The cloud asked us to slow down and the time limit left no room to wait."""


class NoCapacity(CloudError):
    """No candidate offer had stock."""


class InsufficientFunds(CloudError):
    """The account's balance does not cover the cloud's minimum."""


class NotFound(CloudError):
    """The cloud does not know this id."""


class NotYetTerminable(CloudError):
    """The cloud's minimum runtime has not passed.

    Attributes:
        wait_seconds: how long until the cloud will accept the termination.
    """

    def __init__(self, message: str, wait_seconds: float) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class AmbiguousOutcome(CloudError):
    """A request that may have been accepted got no clear answer (timeout, 5xx): look before asking again."""


class HostError(MoestroError):
    """A host could not be reached or a step on it failed."""


class HostUnreachable(HostError):
    """No SSH connection within the time limit."""


class ConnectionLost(HostUnreachable):
    """The connection dropped, or the host stopped answering, while a command ran: its outcome is unknown."""


class HostKeyChanged(HostError):
    """The host presented a key other than the pinned one: nothing was sent to it."""


class HostLoginRefused(HostError):
    """The host refused our key."""


class CommandFailed(HostError):
    """A command on a host exited with a failure.

    Attributes:
        exit_code: the command's exit status.
        output: the tail of its output.
    """

    def __init__(self, message: str, exit_code: int, output: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.output = output


class NotReady(HostError):
    """A service was started but never answered a real completion; the message ends with its log's tail."""
