// What `@modelcontextprotocol/conformance` asks of a server, as far as the SDK goes: its checks are to pass here, so that they say
// something when the gate stands in front.
//
// node conformance-server.mjs PORT
import { createServer } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { McpServer, ResourceTemplate, completable, createMcpHandler } from '@modelcontextprotocol/server';
import { z } from 'zod';

const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const SILENCE = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=';
const text = (value) => ({ content: [{ type: 'text', text: value }] });
const image = { type: 'image', data: PIXEL, mimeType: 'image/png' };
const elicit = (message, name, type = 'string') => ({
  method: 'elicitation/create',
  params: { mode: 'form', message, requestedSchema: { type: 'object', properties: { [name]: { type } }, required: [name] } },
});
const sample = (question, maxTokens) => ({
  method: 'sampling/createMessage',
  params: { messages: [{ role: 'user', content: { type: 'text', text: question } }], maxTokens },
});
const ROOTS = { method: 'roots/list', params: {} };
const required = (inputRequests, requestState) => ({ resultType: 'input_required', inputRequests, ...(requestState && { requestState }) });
const has = (given, ...names) => given && names.every((name) => given[name] !== undefined);

function server() {
  const server = new McpServer({ name: 'conformance', version: '1.0.0' }, { capabilities: { logging: {} } });
  const tool = (name, run, inputSchema = z.object({})) =>
    server.registerTool(name, { description: name.replaceAll('_', ' '), inputSchema }, (given, context) => run(context.mcpReq, given));
  // Asks for `inputs` until all of them are there.
  const asks = (name, inputs, done, state) =>
    tool(name, ({ inputResponses }) => (has(inputResponses, ...Object.keys(inputs)) ? text(done(inputResponses)) : required(inputs, state)));

  tool('test_simple_text', () => text('This is a simple text response for testing.'));
  tool('test_image_content', () => ({ content: [image] }));
  tool('test_audio_content', () => ({ content: [{ type: 'audio', data: SILENCE, mimeType: 'audio/wav' }] }));
  const embedded = { uri: 'test://embedded-resource', mimeType: 'text/plain', text: 'This is an embedded resource content.' };
  tool('test_embedded_resource', () => ({ content: [{ type: 'resource', resource: embedded }] }));
  const mixed = { uri: 'test://mixed-content-resource', mimeType: 'application/json', text: '{"test":"data","value":123}' };
  tool('test_multiple_content_types', () => ({
    content: [{ type: 'text', text: 'Multiple content types test:' }, image, { type: 'resource', resource: mixed }],
  }));
  tool('test_error_handling', () => {
    throw new Error('This tool intentionally returns an error for testing');
  });
  tool('test_tool_with_progress', async ({ _meta, notify }) => {
    for (const progress of _meta?.progressToken === undefined ? [] : [0, 50, 100]) {
      await notify({ method: 'notifications/progress', params: { progressToken: _meta.progressToken, progress, total: 100 } });
    }
    return text('done');
  });
  tool('test_tool_with_logging', async ({ notify }) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await notify({ method: 'notifications/message', params: { level: 'info', data } });
    }
    return text('done');
  });

  asks('test_input_required_result_elicitation', { user_name: elicit('What is your name?', 'name') }, (given) => `Hello, ${given.user_name.content?.name}!`);
  asks('test_input_required_result_sampling', { capital_question: sample('What is the capital of France?', 100) }, (given) => JSON.stringify(given.capital_question));
  asks('test_input_required_result_list_roots', { client_roots: ROOTS }, (given) => JSON.stringify(given.client_roots));
  asks('test_input_required_result_request_state', { confirm: elicit('Please confirm', 'ok', 'boolean') }, () => 'state-ok', 'state-1');
  const several = { user_name: elicit('What is your name?', 'name'), greeting: sample('Generate a greeting', 50), client_roots: ROOTS };
  asks('test_input_required_result_multiple_inputs', several, JSON.stringify, 'state-2');
  tool('test_input_required_result_multi_round', ({ inputResponses: given }) => {
    if (has(given, 'step2')) return text(JSON.stringify(given));
    if (has(given, 'step1')) return required({ step2: elicit('Step 2: What is your favorite color?', 'color') }, 'round-2');
    return required({ step1: elicit('Step 1: What is your name?', 'name') }, 'round-1');
  });

  const fixed = (name, uri, mimeType, content) =>
    server.registerResource(name, uri, { mimeType, description: name }, (uri) => ({ contents: [{ uri: uri.href, mimeType, ...content }] }));
  fixed('static text', 'test://static-text', 'text/plain', { text: 'This is the content of the static text resource.' });
  fixed('static binary', 'test://static-binary', 'image/png', { blob: PIXEL });
  const template = new ResourceTemplate('test://template/{id}/data', { list: undefined });
  server.registerResource('template', template, { mimeType: 'application/json' }, (uri, { id }) => ({
    contents: [{ uri: uri.href, mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) }],
  }));

  const said = (...content) => ({ messages: content.map((content) => ({ role: 'user', content })) });
  const prompt = (name, run, argsSchema) => server.registerPrompt(name, { description: name, argsSchema }, run);
  prompt('test_simple_prompt', () => said({ type: 'text', text: 'This is a simple prompt for testing.' }));
  const two = z.object({ arg1: completable(z.string(), () => ['paris', 'park', 'party']), arg2: z.string() });
  prompt('test_prompt_with_arguments', ({ arg1, arg2 }) => said({ type: 'text', text: `Prompt with arguments: arg1='${arg1}', arg2='${arg2}'` }), two);
  const about = (uri) => ({ type: 'resource', resource: { uri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' } });
  const after = { type: 'text', text: 'Please process the embedded resource above.' };
  prompt('test_prompt_with_embedded_resource', ({ resourceUri }) => said(about(resourceUri), after), z.object({ resourceUri: z.string() }));
  prompt('test_prompt_with_image', () => said(image, { type: 'text', text: 'Please analyze the image above.' }));
  const context = { user_context: elicit('What context should the prompt use?', 'context') };
  prompt('test_input_required_result_prompt', ({ mcpReq }) =>
    has(mcpReq.inputResponses, 'user_context') ? said({ type: 'text', text: 'thanks' }) : required(context));
  return server;
}

const handler = toNodeHandler(createMcpHandler(server));
createServer((request, response) => handler(request, response)).listen(Number(process.argv[2]), '127.0.0.1', () => console.log('{}'));
