import { connect, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { messageOf } from '../../src/errors.js';
import { serveCalls } from '../proc/rpc.js';
import type { ViewersResult, ViewersSpec } from './messages.js';

/**
 * Pages of the dashboard as the gateway sees them, and a Prometheus: so many WebSockets that take what
 * comes, and /metrics read once a second. They cost as little as they can, for they run beside what is
 * measured.
 */

const OPENING_MAX = 50;
const OPEN_DEADLINE_MS = 20_000;
const SCRAPE_MS = 1_000;
const READ_BYTES = 64 * 1024;
/** A WebSocket's key, as RFC 6455 has it: any will do. */
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

/** All sockets are read into one place: nobody looks at it twice. */
const buffer = Buffer.alloc(READ_BYTES);

/** Counts the messages of one WebSocket, of which it keeps nothing. */
class Viewer {
  messages = 0;
  isOpen = false;
  readonly #socket: Socket;
  #head = '';
  /** Bytes of the message at hand that are still to come. */
  #left = 0;
  #header = Buffer.alloc(0);

  constructor(url: URL, cookie: string, opened: (error?: Error) => void) {
    const { hostname: host, port, origin } = url;
    const onread = {
      buffer,
      callback: (bytes: number, read: Uint8Array) => {
        this.#take(Buffer.from(read.buffer, read.byteOffset, bytes), opened);
        return true;
      },
    };
    this.#socket = connect({ host, port: Number(port), onread }, () => {
      this.#socket.write(
        `GET /api/live HTTP/1.1\r\nHost: ${url.host}\r\nOrigin: ${origin}\r\nCookie: ${cookie}\r\n` +
          'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
          `Sec-WebSocket-Key: ${KEY}\r\n\r\n`,
      );
    });
    this.#socket.on('error', opened);
    this.#socket.on('close', () => {
      this.isOpen = false;
      opened(new Error('closed'));
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(bytes: Buffer, opened: (error?: Error) => void): void {
    let rest = bytes;
    if (!this.isOpen) {
      this.#head += bytes.toString('latin1');
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      if (!this.#head.startsWith('HTTP/1.1 101')) {
        opened(new Error(this.#head.slice(0, 60)));
        return;
      }
      rest = Buffer.from(this.#head.slice(end + 4), 'latin1');
      this.#head = '';
      this.isOpen = true;
      opened();
    }
    this.#count(rest);
  }

  /** A server's frames: two bytes, the length in 0, 2 or 8 more, then so many. */
  #count(bytes: Buffer): void {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, rest.length);
        this.#left -= step;
        rest = rest.subarray(step);
        continue;
      }
      rest = this.#header.length > 0 ? Buffer.concat([this.#header, rest]) : rest;
      this.#header = Buffer.alloc(0);
      const short = (rest[1] ?? 0) & 0x7f;
      const headerBytes = short === 127 ? 10 : short === 126 ? 4 : 2;
      if (rest.length < headerBytes) {
        this.#header = Buffer.from(rest);
        return;
      }
      if ((rest[0]! & 0x0f) === 1) this.messages += 1;
      this.#left =
        short === 127 ? rest.readUInt32BE(6) : short === 126 ? rest.readUInt16BE(2) : short;
      rest = rest.subarray(headerBytes);
    }
  }
}

let viewers: Viewer[] = [];
let timer: NodeJS.Timeout | undefined;
let beganAt = 0;
let scrapes = 0;
let failed = 0;
let scrapeError = '';

async function begin({ url, token, count }: ViewersSpec): Promise<void> {
  const to = new URL(url);
  const headers = { 'content-type': 'application/json', origin: to.origin };
  const answer = await fetch(`${url}/api/v1/login`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ token }),
  });
  const cookie = answer.headers.getSetCookie()[0]?.split(';')[0];
  if (!cookie) throw new Error(`no session: ${answer.status} ${await answer.text()}`);
  const deadline = performance.now() + OPEN_DEADLINE_MS;
  while (viewers.length < count) {
    if (performance.now() > deadline) throw new Error(`${viewers.length} of ${count} pages opened`);
    const wave = Math.min(OPENING_MAX, count - viewers.length);
    await Promise.all(Array.from({ length: wave }, () => open(to, cookie)));
  }
  for (const viewer of viewers) viewer.messages = 0;
  [scrapes, failed] = [0, 0];
  beganAt = performance.now();
  timer = setInterval(() => void scrape(url, token), SCRAPE_MS);
}

function open(url: URL, cookie: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const viewer = new Viewer(url, cookie, (error) => (error ? reject(error) : resolve()));
    viewers.push(viewer);
  });
}

async function scrape(url: string, token: string): Promise<void> {
  try {
    const headers = { authorization: `Bearer ${token}` };
    const signal = AbortSignal.timeout(OPEN_DEADLINE_MS);
    const answer = await fetch(`${url}/metrics`, { headers, signal });
    const text = await answer.text();
    if (!text.includes('d4gw_frames_received_total')) throw new Error(`${answer.status}`);
    scrapes += 1;
  } catch (error) {
    failed += 1;
    scrapeError = messageOf(error);
  }
}

/** Closes all, and tells what they saw. */
function end(): ViewersResult {
  clearInterval(timer);
  const seconds = (performance.now() - beganAt) / 1000;
  const counts = viewers.map(({ messages }) => messages);
  const closed = viewers.filter(({ isOpen }) => !isOpen).length;
  for (const viewer of viewers) viewer.close();
  viewers = [];
  const fewest = counts.reduce((least, count) => Math.min(least, count), Number.POSITIVE_INFINITY);
  return { seconds, fewest, closed, scrapes, failed, scrapeError };
}

serveCalls({ begin, end });
