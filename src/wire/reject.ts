/**
 * Why a connection was ended. One code a reason; the numbers are shared with `assembly/` (those the
 * scan reports) and the names appear in the ledger, the logs and the metrics, so neither changes.
 * README.md, "Rejects", explains each; a test keeps that table complete.
 */
export const Reject = {
  // Found in a header by the scan, before a byte of payload is waited for.
  BAD_VERSION: 16,
  BAD_TYPE: 17,
  BAD_UUID: 18,
  TOO_LARGE: 19,
  UUID_CHANGED: 20,
  TYPE_CHANGED: 21,
  TIMESTAMP_SKEW: 22,
  // Admission, at the first header (the address: at accept).
  UNKNOWN_SENSOR: 32,
  SENSOR_PENDING: 33,
  SENSOR_BLOCKED: 34,
  ADDRESS_BLOCKED: 35,
  DUPLICATE_SESSION: 36,
  SENSOR_REMOVED: 37,
  SENSOR_KICKED: 38,
  // Verification.
  BAD_HMAC: 48,
  // Meta headers.
  META_MISSING: 56,
  META_NOT_JSON: 57,
  META_NO_TYPE: 58,
  META_TOO_LONG: 59,
  META_TYPE_NOT_ACCEPTED: 60,
  // Limits of a connection.
  CONNECTION_LIMIT: 64,
  CONNECTION_LIMIT_ADDRESS: 65,
  HANDSHAKE_TIMEOUT: 66,
  HANDSHAKE_FAILED: 67,
  FIRST_FRAME_TIMEOUT: 68,
  IDLE_TIMEOUT: 69,
  ASSEMBLY_BUDGET: 70,
  NO_WORKER: 71,
  // WebSockets.
  BAD_UPGRADE: 72,
  WRONG_PATH: 73,
  TEXT_MESSAGE: 74,
  BAD_WEBSOCKET: 75,
  // Gateway links.
  LINK_REFUSED: 76,
  RELAY_LOOP: 77,
} as const;

export type RejectCode = (typeof Reject)[keyof typeof Reject];

const names = new Map<number, string>(
  Object.entries(Reject).map(([key, code]) => [code, key.toLowerCase().replaceAll('_', '-')]),
);

/** The stable name of a code, such as `bad-hmac`; `code-N` for a number that is none. */
export function rejectName(code: number): string {
  return names.get(code) ?? `code-${code}`;
}

/** How a session ended when nothing was wrong with it. */
export const End = {
  /** The peer closed (FIN, or close_notify under TLS). */
  CLOSED: 1,
  /** RST: goclient ends each TLS 1.3 stream so (WIRE.md). */
  RESET: 2,
  /** The gateway is stopping. */
  DRAINED: 3,
  /** A newer session of the same sensor and type took its place. */
  REPLACED: 4,
  /** Cut before its first header was whole. */
  TRUNCATED: 5,
  /** The gateway link that brought it broke: it goes on in another session. */
  INTERRUPTED: 6,
} as const;

export function endName(code: number): string {
  for (const [key, value] of Object.entries(End)) {
    if (value === code) return key.toLowerCase();
  }
  return rejectName(code);
}
