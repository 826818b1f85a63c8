// Node's HTTP/2 client (nghttp2 under JavaScript streams) as an outside client of the gate. Arguments: ADDRESS PORT CA CERT KEY.
// Speaks with the test by lines: it prints one JSON object a step and goes on when a line comes in.
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import { createInterface } from "node:readline";

const [address, port, ca, cert, key] = process.argv.slice(2);
const session = http2.connect("https://orders.localhost", {
  ca: readFileSync(ca),
  cert: readFileSync(cert),
  key: readFileSync(key),
  host: address,
  port: Number(port),
  servername: "localhost",
});
const fail = (error) => {
  console.error(error);
  process.exit(1);
};
session.on("error", fail);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const tell = (step) => console.log(JSON.stringify(step));

// One call; the whole answer. An answer that breaks off has an error code.
const call = (headers, body, onData) =>
  new Promise((resolve) => {
    const stream = session.request({ ":authority": "orders.localhost", ...headers }, { endStream: body === undefined });
    const answer = { body: "", error: null, trailers: {} };
    stream.setEncoding("utf8");
    stream.on("response", (head) => (answer.status = head[":status"]));
    stream.on("data", (text) => {
      answer.body += text;
      onData?.(text);
    });
    stream.on("trailers", (trailers) => (answer.trailers = { ...trailers }));
    stream.on("error", (error) => (answer.error = error.code));
    stream.on("close", () => resolve({ ...answer, code: stream.rstCode }));
    if (body !== undefined) stream.end(body);
  });

const get = (path) => call({ ":path": path });
tell({ refused: await get("/v1/orders") });

await lines.next();
const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => get(`/v1/orders/${n}`)));
const upload = await call({ ":method": "PUT", ":path": "/v1/upload" }, Buffer.alloc(1 << 20, "x"));
tell({
  statuses: [...new Set(answers.map((answer) => answer.status))],
  upload: upload.status,
  trailers: (await call({ ":path": "/trailers", te: "trailers" })).trailers["x-checksum"],
});

let told = false;
const events = call({ ":path": "/sse" }, undefined, () => {
  if (!told) tell({ streaming: true });
  told = true;
});
const { status, code, error } = await events;
tell({ cut: { status, code, error } });
// The connection has outlived the cut of one stream.
tell({ after: (await get("/v1/orders")).status });
session.close();
