import { GatewayStats } from '../stats/gateway-stats.js';
import type { Flow } from '../stats/messages.js';
import { OwnProcess } from '../stats/own-process.js';
import { RejectLog } from '../stats/reject-log.js';
import type { ToPrimary } from './messages.js';
import { SessionDirectory } from './session-directory.js';

type FlowListener = (flow: readonly Flow[], at: number) => void;

/** What the primary knows of the workers from what they tell: for the control plane to look at. */
export class Observation {
  readonly stats: GatewayStats;
  readonly own = new OwnProcess();
  readonly sessions = new SessionDirectory();
  readonly rejects = new RejectLog();
  /** Names of the sinks that an operator holds: workers that begin are told. */
  readonly held = new Set<string>();
  readonly #listeners: FlowListener[] = [];

  /** @param sinkKinds by name, in the order of the configuration */
  constructor(workers: number, sinkKinds: ReadonlyMap<string, string>) {
    this.stats = new GatewayStats(workers, sinkKinds, this.held);
  }

  /** Told of each few seconds' flow, as long as this lives. */
  onFlow(listener: FlowListener): void {
    this.#listeners.push(listener);
  }

  fromWorker(index: number, message: ToPrimary, now = Date.now()): void {
    switch (message.t) {
      case 'verified':
        this.sessions.opened(index, message);
        break;
      case 'over':
        this.sessions.over(message.id);
        break;
      case 'refused':
        this.stats.refused(message.reason);
        // One that had named its sensor is told as `rejected` too.
        if (message.sensor === undefined) this.rejects.add({ ...message, sensor: undefined }, now);
        break;
      case 'rejected':
        this.rejects.add(message, now);
        break;
      case 'stats': {
        this.stats.told(index, message.stats, now);
        const { flow } = message.stats;
        if (!flow) break;
        this.sessions.flowed(flow);
        for (const listener of this.#listeners) listener(flow, now);
        break;
      }
      default:
        break;
    }
  }

  /** A connection that no worker had. */
  refused(reason: string, address: string | undefined, detail: string, now = Date.now()): void {
    this.stats.refused(reason);
    if (address !== undefined) {
      this.rejects.add({ reason, address, detail, sensor: undefined }, now);
    }
  }

  close(): void {
    this.own.close();
  }

  workerGone(index: number, died: boolean): void {
    this.stats.workerGone(index, died);
    this.sessions.workerGone(index);
  }
}
