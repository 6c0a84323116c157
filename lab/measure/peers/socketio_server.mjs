// Socket.IO with one of its two Redis adapters, each set up as its own documentation does.
//
//     node socketio_server.mjs redis|streams redis://127.0.0.1:PORT
//
// Listens on a free port of 127.0.0.1 and says which in one JSON line. Events: `join` with a
// room's name, acknowledged when it has joined; `say` with a text, which every member of the
// sender's room, the sender among them, gets as `msg`.
// Started by servers.py from the directory that holds its node_modules.
import { createServer } from "node:http";
import { createClient } from "redis";
import { createAdapter as createRedisAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { Server } from "socket.io";

const [kind, url] = process.argv.slice(2);

async function adapter() {
  const client = createClient({ url });
  if (kind === "streams") {
    await client.connect();
    return createStreamsAdapter(client);
  }
  const subscriber = client.duplicate();
  await Promise.all([client.connect(), subscriber.connect()]);
  return createRedisAdapter(client, subscriber);
}

const http = createServer();
const io = new Server(http, { adapter: await adapter(), transports: ["websocket"] });

io.on("connection", (socket) => {
  let joined;
  socket.on("join", async (room, done) => {
    joined = room;
    await socket.join(room);
    done();
  });
  socket.on("say", (text) => io.to(joined).emit("msg", text));
});

http.listen(0, "127.0.0.1", () =>
  console.log(JSON.stringify({ event: "ready", port: http.address().port })),
);
