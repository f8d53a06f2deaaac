import type { Config } from '../config/schema.js';
import type { Holds } from '../ledger/recover.js';
import { custodyOf } from '../spool/custody.js';

/** What the spools of a gateway's sinks hold of sessions whose worker died. */
export function custodyHolds({ sinks }: Pick<Config, 'sinks'>): Holds {
  return (name, ids) => {
    const sink = sinks[name];
    return sink?.kind === 'archive' ? custodyOf(sink.dir, ids) : undefined;
  };
}
