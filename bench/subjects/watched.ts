import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ViewersResult, ViewersSpec } from '../load/messages.js';
import { RpcProcess } from '../proc/rpc.js';
import { type GatewayOptions, startGateway } from './gateway.js';
import type { Subject, Surroundings } from './subject.js';

const VIEWERS_MODULE = new URL('../load/viewers.js', import.meta.url);
const DEADLINE_MS = 60_000;
/** Of the messages and scrapes that there should be, one a second: the ends of a sample are cut. */
const MISSED_MAX = 2;

/**
 * A gateway with its control plane, that is looked at while it is measured: history is written, so many
 * pages are open, and its metrics are read each second.
 */
export async function startWatched(
  options: GatewayOptions,
  count: number,
  around: Surroundings,
): Promise<Subject> {
  const gateway = await startGateway({ ...options, control: true }, around);
  const viewers = RpcProcess.start(VIEWERS_MODULE);
  const token = readFileSync(join(gateway.dataDir, 'control', 'admin-token'), 'utf8').trim();
  const spec: ViewersSpec = { url: gateway.controlUrl, token, count };
  return {
    pid: gateway.pid,
    host: gateway.host,
    ports: gateway.ports,
    budgetBytes: gateway.budgetBytes,
    account: () => gateway.account(),
    loopDelayP99Ms: () => gateway.loopDelayP99Ms(),
    ...(gateway.checkStored ? { checkStored: gateway.checkStored } : {}),
    begin: () => viewers.call('begin', spec, DEADLINE_MS),
    rest: async () => problemsOf(await viewers.call<ViewersResult>('end', {}, DEADLINE_MS), count),
    stop: async () => {
      await viewers.stop();
      return gateway.stop();
    },
  };
}

/** What a page or Prometheus would have missed. */
function problemsOf(result: ViewersResult, count: number): string[] {
  const { seconds, fewest, closed, scrapes, failed, scrapeError } = result;
  const wanted = Math.floor(seconds) - MISSED_MAX;
  return [
    ...(closed > 0 ? [`${closed} of ${count} pages were closed`] : []),
    ...(fewest < wanted ? [`a page got ${fewest} messages in ${seconds.toFixed(1)} s`] : []),
    ...(scrapes < wanted ? [`${scrapes} scrapes in ${seconds.toFixed(1)} s`] : []),
    ...(failed > 0 ? [`${failed} scrapes failed: ${scrapeError}`] : []),
  ];
}
