import type { HttpResponse } from 'uWebSockets.js';
import { STATUS_CODES } from 'node:http';
import { SECURITY_HEADERS } from './headers.js';
import type { FileBody, Reply } from './reply.js';

/** Read and handed on at once of a file. */
const PIECE_BYTES = 256 * 1024;
/** A peer that takes nothing of a file for so long has lost it. */
const SEND_TIMEOUT_MS = 60_000;

/** An answer that is under way, or that its peer no longer waits for. */
export interface Exchange {
  readonly res: HttpResponse;
  aborted: boolean;
  /** Called once where the peer goes away. */
  onAbort: (() => void) | undefined;
}

/** To be called in the turn in which the request came. */
export function beginExchange(res: HttpResponse): Exchange {
  const exchange: Exchange = { res, aborted: false, onAbort: undefined };
  res.onAborted(() => {
    exchange.aborted = true;
    exchange.onAbort?.();
  });
  return exchange;
}

/** Answers. @param headOnly the request was a HEAD */
export async function send(exchange: Exchange, reply: Reply, headOnly = false): Promise<void> {
  const { body } = reply;
  const isFile = typeof body === 'object' && 'file' in body;
  try {
    if (exchange.aborted) return;
    if (headOnly) {
      const bytes = isFile ? body.bytes : Buffer.byteLength(body ?? '');
      exchange.res.cork(() => {
        writeHead(exchange.res, reply);
        exchange.res.endWithoutBody(bytes, true);
      });
    } else if (isFile) {
      await sendFile(exchange, reply, body);
    } else {
      await sendWhole(exchange, reply, Buffer.from(body ?? ''));
    }
  } finally {
    if (isFile) await body.file.close();
  }
}

function writeHead(res: HttpResponse, { status, headers = {} }: Reply): void {
  res.writeStatus(`${status} ${STATUS_CODES[status] ?? ''}`);
  for (const [name, value] of Object.entries({ ...SECURITY_HEADERS, ...headers })) {
    res.writeHeader(name, value);
  }
}

/**
 * Hands on no more than the peer takes: `end` would gather any number of answers that nobody reads. An
 * answer that is not taken is not over, and who then asks for another has its connection closed. Of one
 * without a body that can't be told, so its connection ends with it.
 */
async function sendWhole(exchange: Exchange, reply: Reply, body: Buffer): Promise<void> {
  const { res } = exchange;
  let taken = true;
  res.cork(() => {
    writeHead(res, reply);
    if (body.length === 0) res.end('', true);
    else [taken] = res.tryEnd(body, body.length);
  });
  if (!taken) await untilWritable(exchange, body, 0, body.length);
}

/** Reads a piece when the peer has taken the one before: memory stays the same for any file. */
async function sendFile(exchange: Exchange, reply: Reply, { file, bytes }: FileBody) {
  const { res } = exchange;
  if (bytes === 0) {
    await sendWhole(exchange, reply, Buffer.alloc(0));
    return;
  }
  const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, bytes));
  let hasHead = false;
  for (let at = 0; at < bytes && !exchange.aborted; ) {
    const wanted = Math.min(piece.length, bytes - at);
    const { bytesRead } = await file.read(piece, 0, wanted, at);
    if (exchange.aborted) return;
    if (bytesRead === 0) {
      // It has become shorter: the peer must see that it has not all.
      res.close();
      return;
    }
    const chunk = piece.subarray(0, bytesRead);
    let taken = false;
    res.cork(() => {
      if (!hasHead) writeHead(res, reply);
      hasHead = true;
      [taken] = res.tryEnd(chunk, bytes);
    });
    at += bytesRead;
    if (!taken) await untilWritable(exchange, chunk, at - bytesRead, bytes);
  }
}

/** Hands on what is left of a piece as the peer takes it. */
function untilWritable(
  exchange: Exchange,
  chunk: Buffer,
  start: number,
  total: number,
): Promise<void> {
  const { res } = exchange;
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      if (!exchange.aborted) res.close();
    }, SEND_TIMEOUT_MS);
    const done = () => {
      clearTimeout(timer);
      exchange.onAbort = undefined;
      resolve();
    };
    exchange.onAbort = done;
    res.onWritable((offset) => {
      const [taken, hasEnded] = res.tryEnd(chunk.subarray(offset - start), total);
      if (taken || hasEnded) done();
      return taken;
    });
  });
}
