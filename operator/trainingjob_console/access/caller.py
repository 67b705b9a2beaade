"""Who asks: a user with a Kubernetes token, or whoever sits at the machine that the console runs on."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Caller:
    """The user who asks.

    Attributes:
        name: the user's name at the API server; empty: there is no log-in.
        groups: the user's groups there.
        token: with which calls are made in the user's name; None: the console's own account is
            used, which is so without a log-in only. It is in no text that is made of this.
        key: tells log-ins apart, and reveals no token.
    """

    name: str
    groups: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    key: str = ""

    @property
    def user(self) -> str:
        """The name by which limits are counted: a user has them once, whatever number of tokens."""
        return self.name or self.key


LOCAL_USER = Caller(name="", key="local")
"""Whoever sits at the machine, without a log-in."""
