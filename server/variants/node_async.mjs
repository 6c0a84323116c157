// A7, as one would write it today: Node.js with `async`/`await` and `for await`.
//
// The same event loop and the same sockets as `node_callbacks.mjs`, but the loop over the
// lines is a loop again: it reads like `asyncio_streams.py`. What the article missed in
// 2016 came to Node.js a year later.
//
// Notice `destroyOnReturn: false`: a `for await` over a socket destroys it when the input
// ends, with the last replies unsent. And what is still an event: the idle timeout.

import net from 'node:net';
import { parseArgs, promisify } from 'node:util';

const LINE_BYTES_MAX = 8192; // PROTOCOL, top: with its LF
const LINGER_MS_MAX = 1000; // what a client gets to read our ERR
const BACKLOG = 1024; // clients that wait to be accepted: all of the article's, with room
const LF = 0x0a;
const NOTHING = Buffer.alloc(0);

// A client's lines as they come, each with its LF but perhaps the last (§1.3, §1.4).
async function* lines(socket) {
  let rest = NOTHING;
  for await (const data of socket.iterator({ destroyOnReturn: false })) {
    if (socket.writableEnded) continue; // our side is closed: thrown away
    rest = Buffer.concat([rest, data]);
    let end = rest.indexOf(LF);
    while (end >= 0 && end < LINE_BYTES_MAX) {
      yield rest.subarray(0, end + 1);
      rest = rest.subarray(end + 1);
      end = rest.indexOf(LF);
    }
    if (rest.length >= LINE_BYTES_MAX) {
      sayFarewell(socket, `line-too-long over ${LINE_BYTES_MAX} bytes`);
    }
  }
  if (rest.length > 0 && !socket.writableEnded) yield rest;
}

async function echo(socket) {
  const write = promisify(socket.write.bind(socket));
  let previous = NOTHING;
  for await (const line of lines(socket)) {
    await write(Buffer.concat([previous, line]));
    previous = line;
  }
  socket.end();
}

async function serve(socket, idleMsMax) {
  // Nothing received for so long; or nothing taken: then an ERR would not be read either.
  socket.setTimeout(idleMsMax, () => {
    if (socket.writableLength > 0) socket.destroy();
    else sayFarewell(socket, 'idle-timeout nothing received for too long');
  });
  // A reset. Without a listener it would end the process; the loop hears of it too.
  socket.on('error', () => {});
  try {
    await echo(socket);
  } catch {
    socket.destroy(); // the client has gone, or takes nothing
  }
}

// Send the ERR, and let the loop read on: a close with bytes unread is a reset, which
// overtakes it.
function sayFarewell(socket, why) {
  socket.setTimeout(0);
  socket.end(`ERR ${why}\n`);
  const deadline = setTimeout(() => socket.destroy(), LINGER_MS_MAX);
  socket.on('close', () => clearTimeout(deadline));
}

const { values } = parseArgs({
  options: {
    host: { type: 'string' },
    port: { type: 'string' },
    'idle-s-max': { type: 'string' },
  },
});
const host = values.host ?? '127.0.0.1';
const port = Number.parseInt(values.port, 10);
const idleMsMax = 1000 * Number.parseFloat(values['idle-s-max'] ?? '5');
if (!(port >= 0 && idleMsMax > 0)) {
  process.stderr.write('usage: node_async.mjs --port N [--host H] [--idle-s-max S]\n');
  process.exit(2);
}

// allowHalfOpen: a client that has closed its side is still owed replies.
const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  serve(socket, idleMsMax);
});
server.listen({ host, port, backlog: BACKLOG }, () => {
  const { address, port: chosen } = server.address();
  const ready = { event: 'ready', echo: `${address}:${chosen}`, pid: process.pid };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
});
