"""The viewer's server: a page that shows datasets and changes nothing.

`phoenix-ray view` calls `serve`. `access` decides who gets an answer, `library` has what the answers hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args
from urllib.parse import quote, urlencode

from aiohttp import web

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.errors import ConfigError, OutputError, PhoenixRayError
from phoenix_ray.text import without_secrets
from phoenix_ray.viewer.access import access_rules, add_security_headers, reachable_name
from phoenix_ray.viewer.library import Library, ShownDataset
from phoenix_ray.viewer.pictures import UnreadablePictureError
from phoenix_ray.viewer.video_list import ORDERS, Order

PAGE = Path(__file__).with_name("page")
# File of the page → its type. Nothing else is served from a disk.
PAGE_FILES = {"index.html": "text/html", "viewer.js": "text/javascript", "style.css": "text/css"}
MOST_ROWS = 500

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
    application = web.Application(middlewares=[*access_rules(token, host), _explain_errors])
    application[_LIBRARY] = library
    application.on_response_prepare.append(add_security_headers)
    application.on_cleanup.append(_close)
    application.router.add_get("/", _index)
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
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        library: The datasets to show.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        announce: Receives the page's address, with the token, once the server listens.
        start: What the page opens first: `video`, `split`, `frame`.
        run_status: As for `make_application`.

    Raises:
        ConfigError: The address or port cannot be listened on.
    """
    token = secrets.token_urlsafe(24)
    application = make_application(library, token, host, run_status)

    def listening(address: str) -> None:
        fragment = "#" + urlencode(start, quote_via=quote) if start else ""
        announce(f"http://{address}/?token={token}{fragment}")

    # Where there are no handlers for signals, as on Windows, Ctrl-C arrives as an exception.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(application, host, port, listening))


async def _serve(application: web.Application, host: str, port: int, listening: Callable[[str], None]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
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
    finally:
        await runner.cleanup()


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


async def _index(request: web.Request) -> web.StreamResponse:  # noqa: ARG001 - aiohttp's handler
    return _send_page_file("index.html")


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
    """Return how many frames the source has of a video, once it is listed."""
    listing = _dataset(request).listing
    if listing is None:
        return web.json_response({"frames": None, "error": "Frames are not shown (--no-frames)."})
    await _wait_for(listing.done)
    try:
        return web.json_response({"frames": listing.find(_key(request)).frame_count, "error": ""})
    except LookupError as error:
        return web.json_response({"frames": None, "error": without_secrets(str(error))})


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
