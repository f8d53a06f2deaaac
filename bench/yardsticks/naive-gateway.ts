import { createHmac, timingSafeEqual } from 'node:crypto';
import { createWriteStream, type WriteStream } from 'node:fs';
import {
  type AddressInfo,
  createServer as createTcpServer,
  type Server,
  type Socket,
} from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { formatUuid } from '../../src/wire/uuid.js';
import { serveCalls } from '../proc/rpc.js';
import type { ServerAccount, ServerPorts, ServerStart } from '../subjects/messages.js';

/**
 * A gateway the way one would first write it: `data` events, `Buffer.concat`, `readUInt32LE`,
 * `createHmac`, a write stream a session. It checks what ours checks of a frame, and honours
 * backpressure; nothing in it is slow on purpose.
 */
const MAX_PAYLOAD = 1_000_000;

let secret: Buffer;
let dir: string | undefined;
let sessions = 0;
const sensors = new Map<string, { frames: number; bytes: number }>();
const rejects: string[] = [];

function accept(socket: Socket): void {
  let buffer: Buffer = Buffer.alloc(0);
  let file: WriteStream | undefined;
  let uuid: string | undefined;
  const number = sessions++;
  let frames = 0;
  let bytes = 0;

  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    buffer = Buffer.concat([buffer, chunk]);
    while (buffer.length >= 62) {
      const size = buffer.readUInt32LE(58);
      if (buffer[0] !== 1 || size > MAX_PAYLOAD) return reject('header');
      if (buffer.length < 62 + size) return;
      const header = Buffer.from(buffer.subarray(0, 62));
      header.fill(0, 26, 58);
      const payload = buffer.subarray(62, 62 + size);
      const hmac = createHmac('sha256', secret).update(header).update(payload).digest();
      if (!timingSafeEqual(hmac, buffer.subarray(26, 58))) return reject('hmac');
      const sensor = formatUuid(buffer, 2);
      uuid ??= sensor;
      if (sensor !== uuid) return reject('uuid');
      if (dir !== undefined) {
        if (!file) {
          file = createWriteStream(join(dir, `${uuid.replaceAll('-', '')}-${number}.jsonl`));
          file.on('drain', () => socket.resume());
        }
        if (!file.write(payload)) socket.pause();
      }
      frames += 1;
      bytes += size;
      buffer = buffer.subarray(62 + size);
    }
  });
  socket.on('close', () => {
    if (file) file.end(count);
    else count();
  });

  /** A session counts when its file is complete. */
  function count(): void {
    if (uuid === undefined) return;
    const totals = sensors.get(uuid) ?? { frames: 0, bytes: 0 };
    totals.frames += frames;
    totals.bytes += bytes;
    sensors.set(uuid, totals);
  }

  function reject(why: string): void {
    rejects.push(why);
    socket.destroy();
  }
}

async function start(options: ServerStart): Promise<ServerPorts> {
  secret = Buffer.from(options.secret, 'base64');
  dir = options.dir;
  const { cert, key } = options;
  const tls = await listen(createTlsServer({ cert, key }).on('secureConnection', accept));
  return { tls, tcp: await listen(createTcpServer(accept)) };
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

serveCalls({
  start,
  account: (): ServerAccount => ({ sensors: Object.fromEntries(sensors), problems: rejects }),
});
