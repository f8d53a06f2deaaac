import { OFFSET_SIZE, OFFSET_TYPE, OFFSET_VERSION } from '../wire/layout.js';
import { Reject } from '../wire/reject.js';
import { uuidOfHeader } from '../wire/uuid.js';

const TLS_HANDSHAKE = 0x16;
const PRINTABLE_MIN = 0x20;
const PRINTABLE_MAX = 0x7e;

/**
 * What an operator needs to know of a header that was rejected: the value that was wrong, and what
 * the peer seems to speak when it is not D4.
 * @param header all 62 bytes, or for `BAD_VERSION` as many as came
 */
export function describeHeader(code: number, header: Buffer): string {
  switch (code) {
    case Reject.BAD_VERSION:
      return describeVersion(header);
    case Reject.BAD_TYPE:
    case Reject.TYPE_CHANGED:
      return `type ${header[OFFSET_TYPE]}`;
    case Reject.BAD_UUID:
    case Reject.UUID_CHANGED:
      return `uuid ${uuidOfHeader(header)}`;
    case Reject.TOO_LARGE:
      return `payload of ${header.readUInt32LE(OFFSET_SIZE)} bytes`;
    default:
      return '';
  }
}

function describeVersion(header: Buffer): string {
  const version = header[OFFSET_VERSION]!;
  if (version === TLS_HANDSHAKE) return `version ${version}; it looks like TLS on a plain port`;
  if (version >= PRINTABLE_MIN && version <= PRINTABLE_MAX) {
    const text = [...header.subarray(0, 12)].map((byte) =>
      byte >= PRINTABLE_MIN && byte <= PRINTABLE_MAX ? String.fromCharCode(byte) : '.',
    );
    return `version ${version}; it begins with the text "${text.join('')}"`;
  }
  return `version ${version}`;
}
