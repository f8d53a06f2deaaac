import type { Config, SinkConfig } from '../config/schema.js';
import type { Holds } from '../ledger/recover.js';
import { spoolRoot } from '../sinks/relay/prepare.js';
import { custodyOf } from '../spool/custody.js';

/** What the spools of a gateway's sinks hold of sessions whose worker died. */
export function custodyHolds(dataDir: string, sinks: () => Config['sinks']): Holds {
  return (name, ids) => {
    const root = spoolsOf(name, sinks()[name], dataDir);
    return root === undefined ? undefined : custodyOf(root, ids);
  };
}

/** Where a sink has its spools, one directory a worker; undefined for one without. */
export function spoolsOf(
  name: string,
  sink: SinkConfig | undefined,
  dataDir: string,
): string | undefined {
  if (sink?.kind === 'archive') return sink.dir;
  return sink?.kind === 'relay' ? spoolRoot(dataDir, name, sink) : undefined;
}
