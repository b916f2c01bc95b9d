"""An HTTP server in this process that answers by a script, and fails in every way it is told to."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Answers each request with the next item of `script` (the last one for ever).

    An item is a text or a finish reason with text, which `answer` makes a body of; a status with headers; a
    number of seconds to dawdle; a body as it is (a dictionary); bytes as they are; or a function of the
    request's body and headers that gives an item.
    """

    daemon_threads = True

    def __init__(self, *script, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.script, self.seen, self.headers, self.out, self.most = list(script), [], [], 0, 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def offered(self):
        """What is answered to GET."""
        return {"data": [{"id": "a-model"}]}

    def answer(self, finish, text):
        """The body that says a text."""
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "text": text, "finish_reason": finish}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return {"id": "1", "object": "chat.completion", "created": 0, "model": "a-model", "choices": [choice],
                "usage": usage}  # fmt: skip

    def __exit__(self, *fault):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.send(200, self.server.offered(), {})

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        with server.lock:
            server.seen.append((self.path, body))
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            item = server.script.pop(0) if len(server.script) > 1 else server.script[0]
            server.out += 1
            server.most = max(server.most, server.out)
        try:
            self.answer(item(body, self.headers) if callable(item) else item)
        finally:
            with server.lock:
                server.out -= 1

    def answer(self, item):
        if isinstance(item, float):
            time.sleep(item)
            item = "[bet]"
        if isinstance(item, bytes | dict):
            return self.send(200, item, {})
        if isinstance(item, int):
            item = (item, {})
        if isinstance(item, tuple) and isinstance(item[0], int):
            body = item[2] if len(item) > 2 else {"error": {"message": "no"}}
            return self.send(item[0], body, item[1])
        return self.send(200, self.server.answer(*(item if isinstance(item, tuple) else ("stop", item))), {})

    def send(self, status, body, headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has stopped waiting, as the test wants
