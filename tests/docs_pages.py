"""What is wrong with built web pages: by their text, and as Chromium shows them."""

from __future__ import annotations

import functools
import html
import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"))), None)
"""The program, or None: then pages are judged by their text alone."""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1600,1000",
)  # fmt: skip
WIDTHS = (1280, 390)
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; report-uri /report"
LOADED = re.compile(r'<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\ssrc="([^"]*)"|<link\b[^>]*?>', re.DOTALL)
STYLES = re.compile(r"""(?:url\(|@import\s+)\s*["']?([^"')\s;]+)""")
TEX = re.compile(r"\$\$|\\\(|\\\[|\\(?:frac|mathcal|mathrm|sum|lambda|begin|operatorname|bigl|tilde|hat)\b")
HEADING = re.compile(r"<h([1-6])[^>]*>(.*?)</h\1>", re.DOTALL)


def problems_in_text(site: Path) -> list[str]:
    """One line for each fault that the files themselves show."""
    found: list[str] = []
    titles: Counter[str] = Counter()
    for page in sorted(site.rglob("*.html")):
        name, text = page.relative_to(site).as_posix(), page.read_text(encoding="utf-8")
        found += [f"{name}: {problem}" for problem in _problems_of_page(page, text, site)]
        titles.update(_plain(title) for level, title in HEADING.findall(_article(text)) if level == "1")
    found += [f"{count} pages are called {title!r}" for title, count in titles.items() if count > 1]
    for style in sorted(site.rglob("*.css")):
        found += [f"{style.name}: asks for {address}" for address in STYLES.findall(style.read_text(encoding="utf-8")) if _is_elsewhere(address)]
    return found


def _problems_of_page(page: Path, text: str, site: Path) -> Iterator[str]:
    article = _article(text)
    for address in _loaded(text):
        if _is_elsewhere(address):
            yield f"asks for {address}"
        elif not address.startswith("data:") and not (page.parent / unquote(urlsplit(address).path)).is_file():
            yield f"{address} is missing"
    for formula in re.findall(r'<(?:span|div) class="formula">(.*?)</(?:span|div)>', article, re.DOTALL):
        if "<svg" not in formula or "<path" not in formula or "data-mjx-error" in formula:
            yield f"a formula is not rendered: {_plain(formula)[:60]!r}"
    words = re.sub(r"<(pre|code|svg)\b.*?</\1>", "", article, flags=re.DOTALL)
    yield from (f"a formula is not rendered: {found[0]!r}" for found in TEX.finditer(_plain(words)))
    if re.search(r'class="(?:[^"]* )?(?:math|MathJax)[ "]', article):
        yield "a formula waits for a script"
    if re.search(r'<div class="toctree-wrapper[^>]*>\s*<(?!/)', article):
        yield "a table of contents stands beside the one at the side"
    headings = Counter(_plain(title) for _, title in HEADING.findall(article))
    yield from (f"{count} headings are called {title!r}" for title, count in headings.items() if count > 1)


def _article(text: str) -> str:
    found = re.search(r"<article\b[^>]*>(.*)</article>", text, re.DOTALL)
    return found[1] if found else text


def _loaded(text: str) -> Iterator[str]:
    """Addresses that a browser asks for by itself."""
    for found in LOADED.finditer(text):
        if found[1] is not None:
            yield html.unescape(found[1])
        elif re.search(r'rel="[^"]*(?:stylesheet|icon|preload|prefetch|preconnect|manifest)', found[0]):
            yield from (html.unescape(address) for address in re.findall(r'\shref="([^"]*)"', found[0]))
    for style in re.findall(r"<style\b[^>]*>(.*?)</style>", text, re.DOTALL):
        yield from (address for address in STYLES.findall(style) if not address.startswith(("#", "data:")))


def _is_elsewhere(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https", "ws", "wss", "ftp")


def _plain(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).replace("¶", "").replace("#", "").split())


LOOK = (Path(__file__).parent / "docs_pages.js").read_text()


class _Handler(SimpleHTTPRequestHandler):
    """Serves a site, and takes what the browser reports."""

    server: _Server

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy-Report-Only", POLICY)
        super().end_headers()

    def do_GET(self) -> None:
        if self.path != "/look.html":
            super().do_GET()
            return
        body = f"<script>const PAGES = {json.dumps(self.server.pages)}, WIDTHS = {json.dumps(WIDTHS)};\n{LOOK}</script>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        if self.path == "/report":
            report = content["csp-report"]
            self.server.found.append(f"{urlsplit(report['document-uri']).path[1:]}: asks for {report['blocked-uri']}")
        else:
            self.server.found += content
            self.server.done.set()

    def log_message(self, *arguments: Any) -> None:
        """Nothing: the requests are not of interest."""


class _Server(ThreadingHTTPServer):
    def __init__(self, site: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(site)))
        self.pages = [page.relative_to(site).as_posix() for page in sorted(site.rglob("*.html"))]
        self.found: list[str] = []
        self.done = threading.Event()


def problems_in_browser(site: Path, timeout: float = 120) -> list[str]:
    """One line for each fault that Chromium shows, at each of the widths. Raises
    RuntimeError if it does not answer."""
    assert BROWSER is not None
    with _Server(site) as server, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", f"http://127.0.0.1:{server.server_port}/look.html"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            answered = server.done.wait(timeout)
        finally:
            browser.terminate()
            browser.wait(20)
            server.shutdown()
        if not answered:
            raise RuntimeError(f"{BROWSER} did not answer within {timeout:g} s")
        return sorted(set(server.found))
