// An agent in Node 20, on nothing but Node, written from docs/protocol.md: keeps one tunnel open.
//
//   BURROW_TOKEN=... node agent.js https://example.com http NAME 3000
//
// NODE_EXTRA_CA_CERTS names a private CA's certificate.
"use strict";
const crypto = require("node:crypto"), https = require("node:https"), net = require("node:net"), { Duplex } = require("node:stream");
const [server, kind, name, port] = process.argv.slice(2);
const DATA = 0, WINDOW = 1, PING = 2, GO_AWAY = 3, SYN = 1, ACK = 2, FIN = 4, RST = 8;
const WINDOW_SIZE = 256 * 1024, FRAME = 16 * 1024;

// One frame of the WebSocket (section 1): masked, since a client has to.
function message(opcode, data) {
  const size = data.length, mask = crypto.randomBytes(4);
  const head = Buffer.alloc(size < 126 ? 2 : size < 65536 ? 4 : 10);
  head[0] = 0x80 | opcode;
  head[1] = 0x80 | (size < 126 ? size : size < 65536 ? 126 : 127);
  if (head.length === 4) head.writeUInt16BE(size, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(size), 2);
  return Buffer.concat([head, mask, data.map((byte, at) => byte ^ mask[at & 3])]);
}

// One stream of yamux (section 2).
class Stream extends Duplex {
  constructor(session, id, flag) {
    super({ readableHighWaterMark: 64 * 1024 });
    Object.assign(this, { session, id, room: WINDOW_SIZE, held: 0, ended: 0, more: () => {} }).on("error", () => {});
    session.streams.set(id, this);
    session.send(WINDOW, flag, id, 0); // SYN, or an ACK at once
  }
  _write(data, encoding, done) {
    if (!data.length) return done();
    if (!this.room) { this.more = () => this._write(data, encoding, done); return; }
    const part = data.subarray(0, Math.min(FRAME, this.room));
    this.room -= part.length;
    // The next part waits until the socket has taken this one: so streams take turns.
    this.session.send(DATA, 0, this.id, part.length, part, () => this._write(data.subarray(part.length), encoding, done));
  }
  _final(done) { this.ended |= 1; this.session.send(WINDOW, FIN, this.id, 0, undefined, done); }
  _read() { // what was read of what came is given back to the window
    const read = this.held - this.readableLength;
    if (read < WINDOW_SIZE / 4) return;
    this.held -= read;
    this.session.send(WINDOW, 0, this.id, read);
  }
  _destroy(error, done) {
    if (this.ended !== 3 && this.session.streams.has(this.id)) this.session.send(WINDOW, RST, this.id, 0);
    this.session.streams.delete(this.id);
    done(error);
  }
  came(type, flags, length, data) {
    if (type === WINDOW) {
      this.room += length;
      const more = this.more;
      this.more = () => {};
      more();
    } else if (length) {
      this.held += length;
      this.push(data);
    }
    if (flags & FIN) { this.ended |= 2; this.push(null); }
    if (flags & RST) { this.session.streams.delete(this.id); this.destroy(new Error("reset")); }
  }
}

class Session {
  constructor(socket, head, lost) {
    Object.assign(this, { socket, lost, streams: new Map(), frames: head, bytes: Buffer.alloc(0), heard: Date.now() });
    this.timer = setInterval(() => Date.now() - this.heard > 10000 && socket.destroy(), 1000);
    socket.setNoDelay(true);
    socket.on("data", (data) => { this.heard = Date.now(); this.frames = Buffer.concat([this.frames, data]); this.read(); });
    socket.on("error", () => {});
    socket.on("close", () => { clearInterval(this.timer); for (const each of this.streams.values()) each.destroy(new Error("lost")); this.lost(); });
    this.control = new Stream(this, 1, SYN);
    readBoxes(this.control, (box) => this.told(box));
    this.open();
    this.read();
  }
  open() { this.say({ _command: "OpenTunnel", _ask: "1", kind, name, upstream: `localhost:${port}` }); }
  say(box) { this.control.write(encode(box)); }
  send(type, flags, id, length, data = Buffer.alloc(0), done = undefined) {
    const head = Buffer.alloc(12);
    head[1] = type;
    head.writeUInt16BE(flags, 2);
    head.writeUInt32BE(id, 4);
    head.writeUInt32BE(length, 8);
    if (!this.socket.destroyed) this.socket.write(message(2, Buffer.concat([head, data])), done);
  }
  read() {
    for (let frames = this.frames; frames.length >= 2; frames = this.frames) {
      const short = frames[1] & 127, head = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (frames.length < head) break;
      const size = head === 2 ? short : head === 4 ? frames.readUInt16BE(2) : Number(frames.readBigUInt64BE(2));
      if (frames.length < head + size) break;
      const opcode = frames[0] & 15, payload = frames.subarray(head, head + size);
      this.frames = frames.subarray(head + size);
      if (opcode < 8) this.bytes = Buffer.concat([this.bytes, payload]);
      else if (opcode === 9) this.socket.write(message(10, payload));
      else if (opcode === 8) {
        this.socket.end(message(8, payload.subarray(0, 2)));
        if (size > 2 && payload.readUInt16BE() === 4001) fail(payload.subarray(2));
      }
    }
    for (let bytes = this.bytes; bytes.length >= 12; bytes = this.bytes) {
      const type = bytes[1], flags = bytes.readUInt16BE(2), id = bytes.readUInt32BE(4), length = bytes.readUInt32BE(8);
      const size = type === DATA ? length : 0;
      if (bytes.length < 12 + size) break;
      this.bytes = bytes.subarray(12 + size);
      if (type === PING && flags & SYN) this.send(PING, ACK, 0, length);
      if (type >= PING) continue; // a go away comes just before the closing handshake
      if (flags & SYN) visit(new Stream(this, id, ACK));
      this.streams.get(id)?.came(type, flags, length, bytes.subarray(12, 12 + size));
    }
  }
  told(box) { // section 3
    if (box._error_code === "UNAVAILABLE") setTimeout(() => this.open(), 500);
    else if (box._error) fail(box._error_description);
    else if (box._answer) console.log(box.url);
    else {
      this.say({ _answer: box._ask });
      if (["taken-over", "released"].includes(box.code) && !this.drained) fail(box.text);
      if (box._command === "Drain") { this.drained = true; this.lost(); this.lost = () => {}; } // it goes on beside the next
    }
  }
}

const encode = (box) => Buffer.concat([...Object.entries(box).flat(), ""].flatMap((word) => {
  const text = Buffer.from(word), size = Buffer.alloc(2);
  size.writeUInt16BE(text.length);
  return [size, text];
}));

// Reads AMP boxes: `use` is called with each, and with what is behind it, until it returns true.
function readBoxes(stream, use) {
  let data = Buffer.alloc(0);
  const take = (more) => {
    data = Buffer.concat([data, more]);
    for (let at = 0, words = []; at + 2 <= data.length && at + 2 + data.readUInt16BE(at) <= data.length;) {
      words.push(data.toString("utf8", at + 2, at += 2 + data.readUInt16BE(at)));
      if (words.length % 2 === 0 || words.at(-1)) continue;
      const box = Object.fromEntries(Array.from({ length: words.length >> 1 }, (_, n) => words.slice(2 * n, 2 * n + 2)));
      data = data.subarray(at);
      [at, words] = [0, []];
      if (use(box, data)) return stream.off("data", take);
    }
  };
  stream.on("data", take);
}

// Joins a visitor's stream to the upstream (section 4).
function visit(stream) {
  readBoxes(stream, (box, rest) => {
    stream.pause();
    if (box.window) stream.room -= WINDOW_SIZE - box.window; // what is wanted before anything is read
    if (rest.length) stream.unshift(rest);
    const upstream = net.connect({ port, host: "localhost", allowHalfOpen: true, noDelay: true }, () => stream.pipe(upstream).pipe(stream));
    upstream.on("error", () => stream.destroy()); // a RST: bytes are missing
    stream.on("close", () => (stream.errored ? upstream.resetAndDestroy() : upstream.destroySoon()));
    return true;
  });
}

const fail = (why) => { console.error(String(why)); process.exit(1); };

let current = null; // the newest session
function dial() {
  const request = https.request(`${server}/_burrow/agent`, { agent: false, headers: {
    Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "burrow.yamux.v1",
    "Sec-WebSocket-Key": crypto.randomBytes(16).toString("base64"), Authorization: `Bearer ${process.env.BURROW_TOKEN}`,
    "Burrow-Agent": `agent-node-${name}`, // a real one is made at random once, and kept in a file
  } });
  request.on("upgrade", (response, socket, head) => { current = new Session(socket, head, again); });
  request.on("response", (response) => (response.statusCode < 500 ? response.on("data", fail) : again()));
  request.on("error", again).end();
}
const again = () => setTimeout(dial, 50 + 450 * Math.random());
const goodbye = () => (current ? current.socket.end(message(8, Buffer.from([3, 232])), () => process.exit()) : process.exit());
process.on("SIGINT", goodbye).on("SIGTERM", goodbye);
dial();
