/** Whole frames and their payload bytes (headers are not counted). */
export interface Amount {
  frames: number;
  bytes: number;
}

/**
 * What one session, or all sessions of a sensor and type, came to. For each sink of its route:
 * `received = delivered[sink] + rejected (all reasons) + lost[sink] + in flight`.
 */
export interface Totals {
  sensor: string;
  type: number;
  received: Amount;
  /** By sink name: a sink of the session's route has an entry even when it is zero. */
  delivered: Record<string, Amount>;
  /** By reject name, such as `bad-hmac`. */
  rejected: Record<string, Amount>;
  /** By sink name: what a process that died had received and not delivered. */
  lost: Record<string, Amount>;
  /** Connections cut in mid-frame, and the bytes (header included) of those incomplete frames. */
  truncated: { count: number; bytes: number };
}

/** One ended session, as the worker reports it to the primary, which adds it to the ledger. */
export interface SessionTotals extends Totals {
  /** `SinkSession.id`: a session is added once, however often it is reported. */
  id: string;
  openedAt: number;
  endedAt: number;
  /** `endName` of how it ended. */
  end: string;
}

/**
 * Stands for all sensors that are not registered and of which nothing held: with a shared secret,
 * anybody can claim any UUID.
 */
export const UNVERIFIED_SENSOR = '00000000-0000-4000-8000-000000000000';
