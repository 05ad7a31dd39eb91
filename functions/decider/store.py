"""The state store as we talk to it: an answer or an error, and nothing repeated behind our back.

Only a command that was lost with its connection is made once more, on a new one. A function that has slept finds out by
its first command that somebody on the way has given the connection up; and whether the command was carried out before
makes no difference to any of ours.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from redis import exceptions

from decider.redis_errors import REFUSALS, unavailable
from decider.scripts import Script
from shared.errors import Unavailable

T = TypeVar("T")


class Unreadable(Unavailable):
    """What the state store has of one user, or what a site's rules are, cannot be read: others are not concerned."""

    code = "state_unreadable"


class Client(Protocol):
    """What we need of a Redis client, clustered or not."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any: ...
    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any: ...
    def hget(self, name: str, key: str) -> Any: ...
    def zadd(self, name: str, mapping: Any, *, xx: bool) -> Any: ...
    def zrem(self, name: str, *values: Any) -> Any: ...
    def pipeline(self, transaction: Any = None) -> Any: ...


class Store:
    """The state store behind *client*, which is called before each use; a cluster client talks when it is made.

    Raises `Unavailable` when what happened is not known, `Unreadable` where the answer is an error.
    """

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    def ask(self, command: Callable[[Client], T]) -> T:
        """Return what *command* makes of a client."""
        try:
            try:
                return command(self._client())
            except exceptions.ConnectionError:
                return command(self._client())
        except REFUSALS as error:
            raise unavailable(error) from error
        except exceptions.ResponseError as error:
            raise Unreadable(f"state store: {type(error).__name__}") from error
        except (exceptions.RedisError, exceptions.RedisClusterException) as error:
            raise unavailable(error) from error

    def run(self, script: Script, *keys_and_arguments: Any) -> Any:
        """Return what *script* answers."""

        def command(client: Client) -> Any:
            try:
                return client.evalsha(script.sha, script.keys, *keys_and_arguments)
            except exceptions.NoScriptError:
                return client.eval(script.text, script.keys, *keys_and_arguments)

        return self.ask(command)
