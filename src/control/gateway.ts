import type { CertificateView } from '../alerts/conditions.js';
import type { Actor } from '../audit/entry.js';
import type { SessionDirectory } from '../cluster/session-directory.js';
import type { Config } from '../config/schema.js';
import type { LedgerReport } from '../ledger/report.js';
import type { Registry } from '../registry/store.js';
import type { GatewayStats } from '../stats/gateway-stats.js';
import type { Flow } from '../stats/messages.js';
import type { OwnProcess } from '../stats/own-process.js';
import type { RejectLog } from '../stats/reject-log.js';

/** What the control plane sees of the gateway and may do to it. The primary process is it. */
export interface ControlledGateway {
  readonly version: string;
  /** Ms since the epoch. */
  readonly startedAt: number;
  readonly config: Config;
  /** What the sources listen on, with the ports that were bound. */
  readonly sources: readonly string[];
  readonly certificates: readonly CertificateView[];
  readonly phase: 'starting' | 'running' | 'stopping';
  readonly registry: Registry;
  readonly stats: GatewayStats;
  /** The process that this is. */
  readonly own: OwnProcess;
  readonly sessions: SessionDirectory;
  readonly rejects: RejectLog;
  /** Connections open now. */
  readonly connections: number;

  ledger(sensor?: string): LedgerReport | Promise<LedgerReport>;
  /** Ends a session. @returns false where there is none of this id */
  endSession(id: string, code: number, detail: string): boolean;
  /**
   * Takes the configuration anew.
   * @throws GatewayError naming what is wrong: then the old one is in force
   */
  reload(actor: Actor): Promise<{ changed: string[] }>;
  /** Stops a sink, or lets it go on: see `Pipeline.hold`. Holds until the gateway ends. */
  holdSink(name: string, held: boolean): void;
  /** Calls back with what sessions added, each few seconds. */
  onFlow(listener: (flow: readonly Flow[], at: number) => void): void;
}
