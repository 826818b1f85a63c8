// A server of MCP made with the SDK that speaks 2026-07-28, and older versions without sessions. It tells what it does, a line each.
//
// node ops-server.mjs PORT
import { createServer } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { McpServer, createMcpHandler } from '@modelcontextprotocol/server';
import { z } from 'zod';

const say = (value) => console.log(JSON.stringify(value));
const text = (value) => ({ content: [{ type: 'text', text: value }] });

function ops() {
  const server = new McpServer({ name: 'ops', version: '1.0.0' });
  const where = z.object({ service: z.string(), server: z.string() });
  server.registerTool('restart_service', { description: 'Restarts a service on a server', inputSchema: where }, (where) => {
    say({ did: 'restart_service', ...where });
    return text(`restarted ${where.service} on ${where.server}`);
  });
  server.registerTool('drop_database', { description: 'Drops a database', inputSchema: z.object({ name: z.string() }) }, ({ name }) => {
    say({ did: 'drop_database', name });
    return text(`dropped ${name}`);
  });
  // Runs until it is cancelled; says so.
  server.registerTool('follow_log', { description: 'Follows a log', inputSchema: where }, async (where, context) => {
    say({ did: 'follow_log', ...where });
    await new Promise((resolve) => context.mcpReq.signal.addEventListener('abort', resolve, { once: true }));
    say({ cancelled: 'follow_log' });
    return text('cancelled');
  });
  for (const name of ['billing', 'payroll']) {
    server.registerResource(name, `log://${name}/today`, { mimeType: 'text/plain' }, (uri) => ({
      contents: [{ uri: uri.href, text: `the log of ${name}` }],
    }));
  }
  server.registerPrompt('postmortem', { description: 'Writes a postmortem' }, () => ({
    messages: [{ role: 'user', content: { type: 'text', text: 'Write a postmortem.' } }],
  }));
  return server;
}

const handler = toNodeHandler(createMcpHandler(ops));
const port = Number(process.argv[2]);
createServer((request, response) => handler(request, response)).listen(port, '127.0.0.1', () => say({ listens: port }));
