// `node --import` this: what listens on every interface because nobody asked it where to (supergateway has no option for that) listens on
// the loopback interface alone.
import { Server } from 'node:net';

const { listen } = Server.prototype;
Server.prototype.listen = function (...given) {
  const [first, second] = given;
  const port = typeof first === 'number' || (typeof first === 'string' && /^\d+$/.test(first));
  if (port && typeof second !== 'string') given.splice(1, 0, '127.0.0.1');
  return listen.apply(this, given);
};
