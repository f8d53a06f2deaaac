import type { Amount } from '../../src/ledger/totals.js';

/** How a server of this suite is started in its own process. */
export interface ServerStart {
  cert: string;
  key: string;
  /** Base64. */
  secret: string;
  /** Where it stores, or nothing. */
  dir?: string;
}

export interface ServerPorts {
  tls: number;
  tcp: number;
  /** Where other gateways link to. */
  wss?: number;
}

/**
 * What a server has accounted for since it began: what it can say, for a server that only reads
 * knows no frames. Fields that are there are proof, and are compared exactly.
 */
export interface ServerAccount {
  sensors?: Record<string, Amount>;
  streamBytes?: number;
  /** What went wrong on its side. */
  problems: string[];
}
