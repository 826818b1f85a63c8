"""A receiver of exports over HTTPS that wants a client certificate: OTLP logs, read with the official library, and OCSF events.

python3 receive.py ADDRESS PORT CERT KEY CA. What arrives is one JSON object a line of `received.jsonl` in the working directory,
on the disk before it is answered. A file `answer` there makes it answer so instead: `503`, or `503 2` with Retry-After. A file `poison`
makes it answer 400 to whatever contains that text.
"""

import http.server
import json
import pathlib
import ssl
import sys

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse


def value(any_value):
    kind = any_value.WhichOneof("value")
    return None if kind is None else getattr(any_value, kind)


def records(body):
    request = ExportLogsServiceRequest()
    request.ParseFromString(body)
    for resource in request.resource_logs:
        of = {a.key: value(a.value) for a in resource.resource.attributes}
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield {
                    "resource": of,
                    "scope": scope.scope.name,
                    "time": record.time_unix_nano,
                    "severity": record.severity_number,
                    "severity_text": record.severity_text,
                    "body": value(record.body),
                    "attributes": {a.key: value(a.value) for a in record.attributes},
                    "trace_id": record.trace_id.hex(),
                    "event_name": record.event_name,
                }


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = read("answer").split()
        poison = read("poison").strip()
        if answer:
            return self.answer(int(answer[0]), b"", answer[1] if len(answer) > 1 else None)
        if poison and poison.encode() in body:
            return self.answer(400, b"")
        kind = self.headers["content-type"]
        if kind == "application/x-protobuf" and self.path == "/v1/logs":
            got, reply = list(records(body)), ExportLogsServiceResponse().SerializeToString()
        elif kind == "application/x-ndjson" and self.path == "/ocsf":
            got, reply = [json.loads(line) for line in body.splitlines()], b""
        else:
            return self.answer(415, b"")
        with open("received.jsonl", "a") as out:
            for entry in got:
                entry["authorization"] = self.headers["authorization"]
                out.write(json.dumps(entry) + "\n")
        self.answer(200, reply)

    def answer(self, status, body, after=None):
        self.send_response(status)
        if after:
            self.send_header("retry-after", after)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def read(name):
    path = pathlib.Path(name)
    return path.read_text() if path.exists() else ""


address, port, cert, key, ca = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
context.load_verify_locations(ca)
context.verify_mode = ssl.CERT_REQUIRED
server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
