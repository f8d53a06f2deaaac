import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { normalizeAddress } from '../../registry/address.js';

/** A request once its headers are read: uWebSockets.js has them only for one turn. */
export interface Request {
  /** Upper case. */
  method: string;
  /** Without the query, as it was sent. */
  path: string;
  query: URLSearchParams;
  /** The peer's address; IPv4 in its own form. */
  address: string;
  headers: Record<HeaderName, string>;
}

const HEADERS = [
  'accept-encoding',
  'authorization',
  'content-length',
  'cookie',
  'host',
  'if-none-match',
  'origin',
  'x-csrf-token',
] as const;
type HeaderName = (typeof HEADERS)[number];

/** A header that is not there reads as empty text. */
export function readRequest(req: HttpRequest, res: HttpResponse): Request {
  const headers = {} as Record<HeaderName, string>;
  for (const name of HEADERS) headers[name] = req.getHeader(name);
  // Every group of an IPv6 address is written out, and IPv4 within it.
  const address = Buffer.from(res.getRemoteAddressAsText()).toString('latin1');
  return {
    method: req.getCaseSensitiveMethod().toUpperCase(),
    path: req.getUrl(),
    query: new URLSearchParams(req.getQuery()),
    address: normalizeAddress(address)?.address ?? address,
    headers,
  };
}
