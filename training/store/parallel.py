"""Do independent store calls at once, in a bounded number of threads, with bounded read-ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(call: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield `call(item)` in order; at most `workers` run or wait unread; the first error ends it.

    One worker means the caller's own thread: then the order of store calls is exactly repeatable.
    """
    if workers <= 1:
        yield from map(call, items)
        return
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="store") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(waiting) >= workers:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(call, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
