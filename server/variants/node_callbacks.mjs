// A7: the same echo in Node.js, with callbacks: what the article feared.
//
// It shows that the "callback hell" is a matter of names. A loop over lines can't be
// written, since each write tells of its end by a call; so the loop's body is a function,
// `answer`, that hands itself to `write`: "when this reply is out, look for the next line".
// Nothing nests, and while a reply is on its way the client is not read.
//
// Notice that bytes stay bytes: Buffers, never strings, which would turn what is no UTF-8
// into replacement characters. And `pause`: an event that comes while its client is still
// being answered must be kept from coming. That is what is hard about callbacks.

import net from 'node:net';
import { parseArgs } from 'node:util';

const LINE_BYTES_MAX = 8192; // PROTOCOL, top: with its LF
const LINGER_MS_MAX = 1000; // what a client gets to read our ERR
const BACKLOG = 1024; // clients that wait to be accepted: all of the article's, with room
const LF = 0x0a;
const NOTHING = Buffer.alloc(0);

function echo(socket, idleMsMax) {
  let previous = NOTHING;
  let rest = NOTHING;

  // Answer the first line of `rest`, and go on when that is out (PROTOCOL §1.1, §1.3).
  function answer(error) {
    if (error || socket.writableEnded) return; // gone: 'close' comes by itself
    const end = rest.indexOf(LF);
    if (end >= LINE_BYTES_MAX || (end < 0 && rest.length >= LINE_BYTES_MAX)) {
      sayFarewell(socket, `line-too-long over ${LINE_BYTES_MAX} bytes`);
    } else if (end < 0) {
      socket.resume();
    } else {
      const line = rest.subarray(0, end + 1);
      const reply = Buffer.concat([previous, line]);
      previous = line;
      rest = rest.subarray(end + 1);
      socket.write(reply, answer);
    }
  }

  socket.on('data', (data) => {
    if (socket.writableEnded) return; // our side is closed: thrown away
    socket.pause();
    rest = Buffer.concat([rest, data]);
    answer();
  });

  // The client has closed its side: an unterminated tail is a last line (§1.4).
  socket.on('end', () => {
    if (socket.writableEnded) return;
    if (rest.length > 0) socket.write(Buffer.concat([previous, rest]));
    socket.end();
  });

  // Nothing received for so long; or nothing taken: then an ERR would not be read either.
  socket.setTimeout(idleMsMax, () => {
    if (socket.writableLength > 0) socket.destroy();
    else sayFarewell(socket, 'idle-timeout nothing received for too long');
  });

  // A reset. Without a listener it would end the process; 'close' follows.
  socket.on('error', () => {});
}

// Send the ERR, then read on: a close with bytes unread is a reset, which overtakes it.
function sayFarewell(socket, why) {
  socket.setTimeout(0);
  socket.end(`ERR ${why}\n`);
  socket.resume();
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
  process.stderr.write('usage: node_callbacks.mjs --port N [--host H] [--idle-s-max S]\n');
  process.exit(2);
}

// allowHalfOpen: a client that has closed its side is still owed replies.
const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  echo(socket, idleMsMax);
});
server.listen({ host, port, backlog: BACKLOG }, () => {
  const { address, port: chosen } = server.address();
  const ready = { event: 'ready', echo: `${address}:${chosen}`, pid: process.pid };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
});
