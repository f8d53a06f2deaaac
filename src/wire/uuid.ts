import { OFFSET_UUID, UUID_BYTES } from './layout.js';

const FORM = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Whether `text` is a version 4 UUID in its canonical form, lower case with hyphens. */
export function isSensorUuid(text: string): boolean {
  return FORM.test(text);
}

/** The canonical text of 16 bytes in RFC 4122 order, lower case with hyphens. */
export function formatUuid(bytes: Uint8Array, offset = 0): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset + offset, UUID_BYTES).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** The 16 bytes of a UUID's text, with or without hyphens; undefined where it is not one. */
export function parseUuid(text: string): Buffer | undefined {
  const hex = text.replaceAll('-', '').toLowerCase();
  return /^[0-9a-f]{32}$/.test(hex) ? Buffer.from(hex, 'hex') : undefined;
}

/** The sensor's UUID in a frame header that starts at `offset`. */
export function uuidOfHeader(bytes: Uint8Array, offset = 0): string {
  return formatUuid(bytes, offset + OFFSET_UUID);
}
