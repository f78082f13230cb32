"""TxRouter: what a service's endpoints are declared with."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter

from chassis.errors import Refusal
from chassis.http.route import NO_CONTENT_STATUS, Rules, TxRoute

RULES = ("scope", "public", "group_commit", "same_as", "overtakes", "etag")

F = TypeVar("F", bound=Callable[..., Any])


class TxRouter(APIRouter):
    """Collects a service's endpoints.

    Every verb takes `refuses`, the refusals it may answer beside the edge's own; `scope`, which the access token must
    have; `public=True` for callers without a token, such as vendors; `group_commit=True` for commands that only insert
    and come in a rush: they share transactions; on an alias of another command, `same_as`, the path that it stands for:
    both then share their Idempotency-Keys; and `overtakes=True` for what must be possible while events of its key are
    parked, and whose outcome is right whether they come before it or after; on a query, `etag=False` for an answer that
    nobody asks for twice, such as a token: its tag would be work for nothing. Other options are FastAPI's.
    """

    def get(self, path: str, **options: Any) -> Callable[[F], F]:
        """A query: its Tx is read-only."""
        return self._endpoint("GET", path, **{"status_code": 200} | options)

    def post(self, path: str, **options: Any) -> Callable[[F], F]:
        """A command."""
        return self._endpoint("POST", path, **{"status_code": 200} | options)

    def put(self, path: str, **options: Any) -> Callable[[F], F]:
        """A command that answers 204."""
        return self._endpoint("PUT", path, **{"status_code": NO_CONTENT_STATUS} | options)

    def patch(self, path: str, **options: Any) -> Callable[[F], F]:
        """A command that answers 204."""
        return self._endpoint("PATCH", path, **{"status_code": NO_CONTENT_STATUS} | options)

    def delete(self, path: str, **options: Any) -> Callable[[F], F]:
        """A command that answers 204."""
        return self._endpoint("DELETE", path, **{"status_code": NO_CONTENT_STATUS} | options)

    def include_router(self, router: APIRouter, **options: Any) -> None:
        """Add the endpoints of another part of the service.

        Raises:
            TypeError: with options: say everything at the endpoint.
        """
        if options:
            raise TypeError(f"{', '.join(options)}: a part's endpoints say everything themselves")
        self.routes.extend(router.routes)

    def _endpoint(
        self,
        method: str,
        path: str,
        *,
        status_code: int,
        refuses: Sequence[type[Refusal]] = (),
        **options: Any,
    ) -> Callable[[F], F]:
        rules = Rules(tuple(refuses), **{rule: options.pop(rule) for rule in RULES if rule in options})

        def add(endpoint: F) -> F:
            tags = [*self.tags, *options.pop("tags", ())]
            route = TxRoute(
                self.prefix + path, endpoint, method=method, rules=rules, status_code=status_code, tags=tags, **options
            )
            self.routes.append(route)
            return endpoint

        return add
