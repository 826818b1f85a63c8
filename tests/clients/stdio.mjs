// A real client of MCP that starts its server, as desktop clients do. Driven line by line like talk.mjs; lists that have changed are told
// as {"changed": true}, progress as {"progress": N}, the end of the server as {"closed": true}.
//
// With `+url` behind the SDK's name it shows pages to its user, who accepts: each is told as {"page": …}.
//
// node stdio.mjs v1|v2|v2-legacy[+url] COMMAND ARGUMENT…
import { createInterface } from 'node:readline';

const [kind, command, ...args] = process.argv.slice(2);
const [sdk, shows] = kind.split('+');
const capabilities = shows ? { elicitation: { url: {} } } : {};
const say = (value) => console.log(JSON.stringify(value));
const who = { name: 'jitgate-test', version: '1.0.0' };
const started = { command, args, stderr: 'inherit' };

async function connected() {
  if (sdk === 'v1') {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StdioClientTransport } = await import('@modelcontextprotocol/sdk/client/stdio.js');
    const { ToolListChangedNotificationSchema } = await import('@modelcontextprotocol/sdk/types.js');
    const client = new Client(who);
    client.setNotificationHandler(ToolListChangedNotificationSchema, () => say({ changed: true }));
    await client.connect(new StdioClientTransport(started));
    return [client, 'v1'];
  }
  const { Client } = await import('@modelcontextprotocol/client');
  const { StdioClientTransport } = await import('@modelcontextprotocol/client/stdio');
  const mode = sdk === 'v2' ? { pin: '2026-07-28' } : sdk === 'v2-auto' ? 'auto' : 'legacy';
  const client = new Client(who, { capabilities, versionNegotiation: { mode } });
  const show = ({ params }) => (say({ page: params }), { action: 'accept' });
  if (shows) client.setRequestHandler('elicitation/create', show);
  client.setNotificationHandler('notifications/tools/list_changed', () => say({ changed: true }));
  await client.connect(new StdioClientTransport(started));
  return [client, client.getNegotiatedProtocolVersion()];
}

const watching = { onprogress: (progress) => say({ progress: progress.progress }) };
async function answer(asked) {
  if (asked.list) return await client.listTools();
  if (asked.instructions) return { instructions: client.getInstructions() };
  const call = { name: asked.tool, arguments: asked.arguments };
  return await client.callTool(call, ...(sdk === 'v1' ? [undefined, watching] : [watching]));
}

const [client, version] = await connected();
client.onclose = () => say({ closed: true });
say({ version });
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  // Calls run beside each other: whoever asks for `n` gets it back.
  const done = answer(asked).catch((error) => ({ error: String(error?.message ?? error), code: error?.code, data: error?.data }));
  const told = done.then((result) => say({ ...result, n: asked.n }));
  if (asked.n === undefined) await told;
}
await client.close();
process.exit(0);
