import type { HttpResponse } from 'uWebSockets.js';
import { HttpProblem } from './reply.js';

/** The largest body of a request. */
export const BODY_BYTES_MAX = 64 * 1024;

/**
 * Reads a body whole. To be called in the turn in which the request came.
 * @throws HttpProblem 413 as soon as it is too large
 */
export function readBody(res: HttpResponse, contentLength: string): Promise<Buffer> {
  const tooLarge = () =>
    new HttpProblem(413, `Body too large: at most ${BODY_BYTES_MAX} bytes are taken`);
  if (Number(contentLength) > BODY_BYTES_MAX) return Promise.reject(tooLarge());
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    res.onData((chunk, isLast) => {
      if (size > BODY_BYTES_MAX) return;
      size += chunk.byteLength;
      if (size > BODY_BYTES_MAX) {
        chunks.length = 0;
        reject(tooLarge());
        return;
      }
      // The memory is taken back when this returns.
      chunks.push(Buffer.from(chunk.slice(0)));
      if (isLast) resolve(Buffer.concat(chunks));
    });
  });
}

/** @throws HttpProblem 400 unless it is a JSON object */
export function parseJson(body: Buffer): unknown {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new HttpProblem(400, 'The body is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new HttpProblem(400, 'The body is not a JSON object');
  }
  return value;
}
