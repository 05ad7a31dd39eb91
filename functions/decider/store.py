"""Run commands and scripts on the state store. The outcome is a result or an error; no command is retried.

The one exception is a command that was lost with its connection, or met a server that became a replica: it is sent once
more, on a new connection. A function that was frozen learns only from its first command that the connection was closed
in between. Repeating is safe, because every command here has the same effect once or twice.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from redis import exceptions

from decider.redis_errors import concerns_one_row, unavailable
from decider.scripts import Script
from shared.errors import Unavailable

T = TypeVar("T")


class Unreadable(Unavailable):
    """What is stored of one user, or the rules of one site, cannot be read. Other users and sites are not affected."""

    code = "state_unreadable"


class Client(Protocol):
    """The methods that the Decider needs of a Redis client, clustered or not."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any: ...
    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any: ...
    def hget(self, name: str, key: str) -> Any: ...
    def zadd(self, name: str, mapping: Any, *, xx: bool) -> Any: ...
    def zrem(self, name: str, *values: Any) -> Any: ...
    def pipeline(self, transaction: Any = None) -> Any: ...


class Store:
    """The state store. *client* returns the client and is called before each command: making one may connect.

    Raises `Unavailable` if the store cannot be used or the outcome is unknown, and `Unreadable` if one row is at fault.
    """

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    def ask(self, command: Callable[[Client], T]) -> T:
        """Return the result of *command*, which gets the client."""
        try:
            try:
                return command(self._client())
            except (exceptions.ConnectionError, exceptions.ReadOnlyError):
                return command(self._client())
        except exceptions.ResponseError as error:
            if concerns_one_row(error):
                raise Unreadable(f"state store: {type(error).__name__}") from error
            raise unavailable(error) from error
        except (exceptions.RedisError, exceptions.RedisClusterException) as error:
            raise unavailable(error) from error

    def run(self, script: Script, *keys_and_arguments: Any) -> Any:
        """Return the result of *script*."""

        def command(client: Client) -> Any:
            try:
                return client.evalsha(script.sha, script.keys, *keys_and_arguments)
            except exceptions.NoScriptError:
                return client.eval(script.text, script.keys, *keys_and_arguments)

        return self.ask(command)
