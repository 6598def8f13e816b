"""A static server as simple as they come, and the page's captions by its own code."""

import base64
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

HYPOTHESES = 5
LOADED = 300_000
"""Milliseconds, at most, until the model is there."""
CAPTION = """async ([name, content, count]) => {
    const { caption } = await import("./backend.js");
    const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
    return caption(new Blob([bytes]), { name, options: { n_best: count } });
}"""


class Server(ThreadingHTTPServer):
    """A static server as simple as they come; it can break off a file in its middle."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=folder))
        self.cut, self.asked = "", []
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request, client_address):
        """Of clients that leave."""


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        self.server.asked.append(self.path)

    def copyfile(self, source, outputfile):
        if self.server.cut and self.server.cut in self.path:
            outputfile.write(source.read(1000))
        else:
            super().copyfile(source, outputfile)


@contextmanager
def serving(folder):
    with Server(folder) as opened:
        thread = threading.Thread(target=opened.serve_forever)
        thread.start()
        try:
            yield opened
        finally:
            opened.shutdown()
            thread.join()


def caption(page, file):
    content = base64.b64encode(file.read_bytes()).decode()
    return page.evaluate(CAPTION, [file.name, content, HYPOTHESES])
