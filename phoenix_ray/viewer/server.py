"""The viewer's server: a page that shows datasets and changes nothing.

`phoenix-ray view` calls `serve`. `access` decides who gets an answer, `library` has what the answers hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args
from urllib.parse import quote, urlencode

import click
from aiohttp import web
from aiohttp.http import HttpProcessingError

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.errors import ConfigError, OutputError, PhoenixRayError
from phoenix_ray.text import without_secrets
from phoenix_ray.viewer.access import access_rules, add_security_headers, reachable_name
from phoenix_ray.viewer.library import Library, ShownDataset
from phoenix_ray.viewer.pictures import UnreadablePictureError
from phoenix_ray.viewer.video_list import ORDERS, Order

PAGE = Path(__file__).with_name("page")
# File of the page → its type. Nothing else is served from a disk.
PAGE_FILES = {
    **dict.fromkeys(("index.html", "run.html"), "text/html"),
    **dict.fromkeys(("viewer.js", "run.js"), "text/javascript"),
    **dict.fromkeys(("style.css", "run.css"), "text/css"),
}
# Path of a page → its file: of the videos, and of a run.
PAGES = {"/": "index.html", "/run": "run.html"}
MOST_ROWS = 500
# How long the end waits for requests and frames that are being read.
END_SECONDS = 5.0

RunStatus = Callable[[], Mapping[str, object]]
Result = TypeVar("Result")
_LIBRARY: web.AppKey[Library] = web.AppKey("library", Library)


def make_application(
    library: Library, token: str, host: str = "127.0.0.1", run_status: RunStatus | None = None
) -> web.Application:
    """Return the application.

    Args:
        library: The datasets to show; closed with the application.
        token: What every request must bring (`access.access_rules`).
        host: The address that the server listens on.
        run_status: Returns plain values on a run's progress, for `/api/run`; called in a thread. None answers 404.
    """
    application = web.Application(middlewares=[*access_rules(token, host, PAGES), _explain_errors])
    application[_LIBRARY] = library
    application.on_response_prepare.append(add_security_headers)
    application.on_cleanup.append(_close)
    for path in PAGES:
        application.router.add_get(path, _page)
    for name in PAGE_FILES:
        application.router.add_get(f"/{name}", _page_file)
    application.router.add_get("/favicon.ico", _no_icon)
    for name, handler in _ANSWERS.items():
        application.router.add_get(f"/api/{name}", handler)
    if run_status is not None:
        application.router.add_get("/api/run", _answer_run(run_status))
    return application


def serve(
    library: Library,
    host: str,
    port: int,
    announce: Callable[[str], None],
    start: Mapping[str, str] | None = None,
    run_status: RunStatus | None = None,
    page: str = "/",
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        library: The datasets to show.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        announce: Receives the page's address, with the token, once the server listens.
        start: What the page opens first: `video`, `split`, `frame`.
        run_status: As for `make_application`.
        page: The page of `PAGES` to announce.

    Raises:
        ConfigError: The address or port cannot be listened on.
    """
    token = secrets.token_urlsafe(24)
    application = make_application(library, token, host, run_status)

    def listening(address: str) -> None:
        fragment = "#" + urlencode(start, quote_via=quote) if start else ""
        announce(f"http://{address}{page}?token={token}{fragment}")

    leaving = threading.Timer(END_SECONDS, _leave)
    leaving.daemon = True
    # Where there are no handlers for signals, as on Windows, Ctrl-C arrives as an exception.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(application, host, port, listening, leaving.start))
    leaving.cancel()


def _leave() -> None:
    """End at once: Python would wait for threads, and one that reads from a stuck mount never ends."""
    click.echo("Something is still being read; it is not waited for.", err=True)
    os._exit(0)


async def _serve(
    application: web.Application,
    host: str,
    port: int,
    listening: Callable[[str], None],
    ending: Callable[[], None],
) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = web.AppRunner(application, access_log=None, logger=_quiet_log(), shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f"The server cannot listen on {host} port {port}: {error.strerror or error}. Give another --port (0 "
                "takes a free one) or --host."
            ) from None
        own = runner.addresses[0][1]
        listening(f"{reachable_name(host)}:{own}")
        await stopped.wait()
        ending()
    finally:
        await runner.cleanup()


def _quiet_log() -> logging.Logger:
    """Return a log without requests that are not HTTP, with which anyone who reaches the port could fill a terminal."""
    log = logging.getLogger(__name__)
    log.addFilter(_is_own_error)
    return log


def _is_own_error(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _explain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except KeyError as error:
        return _refusal(404, str(error.args[0]) if error.args else "not found")
    except (UnreadablePictureError, LookupError) as error:
        return _refusal(404, str(error))
    except ValueError as error:
        return _refusal(400, str(error))
    except PhoenixRayError as error:
        return _refusal(409, str(error))


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": without_secrets(message)}, status=status)


async def _close(application: web.Application) -> None:
    await asyncio.to_thread(application[_LIBRARY].close)


# Answers.


async def _page(request: web.Request) -> web.StreamResponse:
    return _send_page_file(PAGES[request.path])


async def _page_file(request: web.Request) -> web.StreamResponse:
    return _send_page_file(request.path.removeprefix("/"))


async def _no_icon(request: web.Request) -> web.StreamResponse:  # noqa: ARG001 - aiohttp's handler
    return web.Response(status=204)


def _send_page_file(name: str) -> web.Response:
    return web.Response(body=(PAGE / name).read_bytes(), content_type=PAGE_FILES[name], charset="utf-8")


async def _answer_datasets(request: web.Request) -> web.Response:
    """Return what the page shows as a whole, and look for rows that a run has added."""
    library = request.app[_LIBRARY]
    for dataset in library.datasets:
        await asyncio.to_thread(_refresh, dataset)
    return web.json_response(library.describe())


def _refresh(dataset: ShownDataset) -> None:
    # What was read before can still be shown; opening a video says what is wrong.
    with contextlib.suppress(OutputError):
        dataset.refresh()


async def _answer_videos(request: web.Request) -> web.Response:
    first, count = _number(request, "first", 0), min(MOST_ROWS, _number(request, "count", 100))
    videos = _dataset(request).videos
    page = await asyncio.to_thread(videos.page, request.query.get("search", ""), _order(request), first, count)
    return web.json_response({"total": page.total, "first": page.first, "rows": page.rows})


async def _answer_video(request: web.Request) -> web.Response:
    """Return the row of a video and its place in the list."""
    videos, key = _dataset(request).videos, _key(request)
    row = await asyncio.to_thread(videos.find, key)
    if row is None:
        raise KeyError(f"The dataset has no video {key[0]}/{key[1]}.")
    place = await asyncio.to_thread(videos.place, key, request.query.get("search", ""), _order(request))
    return web.json_response({"row": row, "place": place})


async def _answer_landmarks(request: web.Request) -> web.Response:
    content = await asyncio.to_thread(_dataset(request).landmarks, _key(request))
    return web.Response(body=content, content_type="application/octet-stream")


async def _answer_source(request: web.Request) -> web.Response:
    """Return how many frames the source has of a video, and whether it has changed, once the source is listed."""
    dataset = _dataset(request)
    listing, answer = dataset.listing, {"frames": None, "is_changed": False, "error": ""}
    if listing is None:
        return web.json_response(answer | {"error": "Frames are not shown (--no-frames)."})
    await _wait_for(listing.done)
    try:
        video = listing.find(_key(request))
    except LookupError as error:
        return web.json_response(answer | {"error": without_secrets(str(error))})
    is_changed = await asyncio.to_thread(dataset.is_changed, video)
    return web.json_response(answer | {"frames": video.frame_count, "is_changed": is_changed})


async def _answer_frame(request: web.Request) -> web.Response:
    listing = _dataset(request).listing
    if listing is None:
        raise LookupError("Frames are not shown (--no-frames).")
    await _wait_for(listing.done)
    video = listing.find(_key(request))
    picture = await _wait_for(request.app[_LIBRARY].pictures.request(video, _number(request, "frame")))
    return web.Response(body=picture, content_type="image/jpeg")


def _answer_run(run_status: RunStatus) -> Handler:
    async def answer(request: web.Request) -> web.Response:  # noqa: ARG001 - aiohttp's handler
        return web.json_response(await asyncio.to_thread(run_status))

    return answer


_ANSWERS: Mapping[str, Handler] = {
    "datasets": _answer_datasets,
    "videos": _answer_videos,
    "video": _answer_video,
    "landmarks": _answer_landmarks,
    "source": _answer_source,
    "frame": _answer_frame,
}


async def _wait_for(future: Any) -> Any:
    """Wait for what a thread does; a request that is given up does not cancel it."""
    return await asyncio.shield(asyncio.wrap_future(future))


def _dataset(request: web.Request) -> ShownDataset:
    datasets, number = request.app[_LIBRARY].datasets, _number(request, "dataset", 0)
    if number >= len(datasets):
        raise KeyError(f"There is no dataset {number}.")
    return datasets[number]


def _key(request: web.Request) -> VideoKey:
    if "split" not in request.query or "video" not in request.query:
        raise ValueError("The request names no split and video.")
    return request.query["split"], request.query["video"]


def _order(request: web.Request) -> Order:
    order = request.query.get("sort", "split")
    if order not in ORDERS:
        raise ValueError(f"The list is sorted by {' or '.join(get_args(Order))}.")
    return order


def _number(request: web.Request, name: str, default: int | None = None) -> int:
    text = request.query.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{name} must be a whole number.")
    return int(text)
