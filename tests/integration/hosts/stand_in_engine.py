#!/usr/bin/python3
"""A stand-in for an engine, for tests: HTTPS with client certificates, an API key, one-word completions. No model.

It runs on the host with nothing but Python, takes vLLM's TLS options, and behaves as vLLM does where that matters:
SIGTERM lets running requests finish and refuses new ones with "abort"; it exits with status 0. With ``--config`` it
takes SGLang's place: its key is in that file, it logs all its options, and no client certificate is demanded.
"""

import argparse
import json
import logging
import logging.config
import os
import signal
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("words", nargs="*")
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--ssl-certfile", required=True)
parser.add_argument("--ssl-keyfile", required=True)
parser.add_argument("--ssl-ca-certs")
parser.add_argument("--config")
parser.add_argument("--load-seconds", type=float, default=0)
parser.add_argument("--die", help="say this and end with status 1 instead of serving")
parser.add_argument("--text", default="hello")
options = parser.parse_args()
if options.config:
    key = Path(options.config).read_text().removeprefix("api-key: ").strip()
    logging.config.dictConfig(json.loads(Path(os.environ["SGLANG_LOGGING_CONFIG_PATH"]).read_text()))
    logging.getLogger("sglang.srt.entrypoints.engine").info("server_args=%s", {"api_key": key})
    logging.getLogger("sglang.srt.managers.scheduler").info("load weight begin")
else:
    key = os.environ["VLLM_API_KEY"]
    print("stand-in starting as", os.getuid(), "with key", key, flush=True)
running = 0
stopping = False
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    def do_GET(self):
        self.reply(
            200, f'vllm:num_requests_running{{engine="0"}} {running}\nvllm:num_requests_waiting{{engine="0"}} 0\n'
        )

    def do_POST(self):
        global running
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {key}":
            return self.reply(401, "{}")
        with lock:
            running += 1
        try:
            self.stream() if body.get("stream") else self.complete()
        finally:
            with lock:
                running -= 1

    def complete(self):
        reason = "abort" if stopping else "length"
        self.reply(200, json.dumps({"choices": [{"text": options.text, "finish_reason": reason}]}))

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(20):
            event = f"data: {number} {options.text}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            time.sleep(0.2)
        self.wfile.write(b"0\r\n\r\n")

    def reply(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


def stop(*_):
    global stopping
    stopping = True
    threading.Thread(target=end_when_idle).start()


def end_when_idle():
    while running:
        time.sleep(0.05)
    os._exit(0)


signal.signal(signal.SIGTERM, stop)
Path(os.environ["HOME"], "argv.json").write_text(json.dumps(sys.argv[1:]))
if options.die:
    print(options.die, flush=True)
    sys.exit(1)
print("\x1b[32mloading\x1b[0m   0%\rloading  50%\rloading 100%", flush=True)
time.sleep(options.load_seconds)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(options.ssl_certfile, options.ssl_keyfile)
if options.ssl_ca_certs:
    context.load_verify_locations(options.ssl_ca_certs)
    context.verify_mode = ssl.CERT_REQUIRED
server = ThreadingHTTPServer(("0.0.0.0", options.port), Handler)
server.daemon_threads = True
server.handle_error = lambda *_: None
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("stand-in serves", flush=True)
server.serve_forever()
