"""The authenticated user of a request: a Kubernetes user with a token, or the local user without log-in."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Caller:
    """The user of a request.

    Attributes:
        name: the user's name at the API server; empty: there is no log-in.
        groups: the user's groups there.
        token: authenticates the calls that are made on behalf of the user. None, which happens only
            without a log-in, means the console's own account. It does not appear in `repr()`.
        key: identifies the log-in without revealing the token.
    """

    name: str
    groups: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    key: str = ""

    @property
    def user(self) -> str:
        """The name for limits per user: all tokens of one user count towards the same limits."""
        return self.name or self.key


LOCAL_USER = Caller(name="", key="local")
"""The user of the machine that the console runs on, without a log-in."""
