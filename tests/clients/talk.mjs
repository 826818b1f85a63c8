// A real client of MCP, driven line by line: each line of the input is {"tool": NAME, "arguments": {…}} or {"list": true}, {"resources": true}, {"prompts": true} or {"read": URI}, each line
// of the output what the SDK made of the answer. The first line of the output says which version was agreed on.
//
// With `+url` behind the SDK's name the client shows pages to its user: each is told as {"page": …}, and the user does what the call's
// line says as `action`.
//
// node talk.mjs v1|v2|v2-legacy[+url] URL CA CERTIFICATE KEY
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Agent, setGlobalDispatcher } from 'undici';

const [kind, url, ca, cert, key] = process.argv.slice(2);
const [sdk, shows] = kind.split('+');
setGlobalDispatcher(new Agent({ connect: { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) } }));

const who = { name: 'jitgate-test', version: '1.0.0' };
const say = (value) => console.log(JSON.stringify(value));
const capabilities = shows ? { elicitation: { url: {} } } : {};
let action;
const show = async ({ params }) => {
  say({ page: params });
  return { action };
};
async function connected() {
  if (sdk === 'v1') {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const transport = new StreamableHTTPClientTransport(new URL(url));
    const client = new Client(who, { capabilities });
    await client.connect(transport);
    return [client, transport.protocolVersion];
  }
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const mode = sdk === 'v2' ? { pin: '2026-07-28' } : 'legacy';
  const client = new Client(who, { capabilities, versionNegotiation: { mode } });
  if (shows) client.setRequestHandler('elicitation/create', show);
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  return [client, client.getNegotiatedProtocolVersion()];
}

async function answer(asked) {
  if (asked.list) return await client.listTools();
  if (asked.resources) return await client.listResources();
  if (asked.prompts) return await client.listPrompts();
  if (asked.read) return await client.readResource({ uri: asked.read });
  return await client.callTool({ name: asked.tool, arguments: asked.arguments }, ...(sdk === 'v1' ? [undefined, watching] : []));
}
const watching = { onprogress: (progress) => say({ progress: progress.progress }) };
const [client, version] = await connected();
say({ version });
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  action = asked.action;
  try {
    say(await answer(asked));
  } catch (error) {
    say({ error: String(error?.message ?? error), code: error?.code, data: error?.data });
  }
}
await client.close();
process.exit(0);
