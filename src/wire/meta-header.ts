import { META_HEADER_BYTES_MAX } from '../constants.js';
import { Reject, type RejectCode } from './reject.js';

/**
 * A meta type names a directory: a letter or digit first (so neither `.` nor `..`, nor an option),
 * no separator, no control character, short.
 */
const TYPE_FORM = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export type ParsedMetaHeader = { type: string } | { reject: RejectCode; detail: string };

/**
 * Reads a whole meta header: one JSON object in UTF-8 (no byte order mark; white space around it is
 * allowed) whose `type` is a string that is safe as a directory's name. Of a key given twice the
 * last counts, as in the reference server. Nothing of the object is kept but that string.
 *
 * @param bytes up to `META_HEADER_BYTES_MAX`; may lie on shared memory
 * @param accepted meta types that are taken; `*` takes all
 */
export function parseMetaHeader(bytes: Uint8Array, accepted: readonly string[]): ParsedMetaHeader {
  if (bytes.length > META_HEADER_BYTES_MAX) {
    return bad(Reject.META_TOO_LONG, `${bytes.length} bytes, limit ${META_HEADER_BYTES_MAX}`);
  }
  // Copied: TextDecoder takes no shared memory, and a sender must not change it under the parser.
  const own = new Uint8Array(bytes);
  let value: unknown;
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(own);
    // V8 parses without recursion: nesting costs memory alone, bounded by the length.
    value = JSON.parse(text);
  } catch {
    // The parser's message would repeat the sender's bytes.
    return bad(Reject.META_NOT_JSON, own.length === 0 ? 'empty' : 'neither UTF-8 nor JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return bad(Reject.META_NOT_JSON, 'not an object');
  }
  // Own properties alone: `{"__proto__":{"type":"x"}}` has no type.
  const type: unknown = Object.hasOwn(value, 'type')
    ? (value as { type: unknown }).type
    : undefined;
  if (typeof type !== 'string') return bad(Reject.META_NO_TYPE, 'no string "type"');
  if (!TYPE_FORM.test(type)) {
    return bad(Reject.META_NO_TYPE, 'type must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}');
  }
  if (!accepted.includes('*') && !accepted.includes(type)) {
    return bad(Reject.META_TYPE_NOT_ACCEPTED, type);
  }
  return { type };
}

function bad(reject: RejectCode, detail: string): ParsedMetaHeader {
  return { reject, detail };
}
