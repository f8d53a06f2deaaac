import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import type { AuditEntry } from '../audit/entry.js';
import { readTrail } from '../audit/reader.js';
import { lockOwner } from '../config/data-dir.js';
import { loadConfig } from '../config/load.js';
import { GatewayError } from '../errors.js';
import { dataDirOf, type PlaceOptions } from './sensor-input.js';

const TIMEOUT_MS = 30_000;
const POLL_MS = 200;

/** `d4gw reload`: signals the gateway, and tells from its audit trail what came of it. */
export function reloadCommand(out: { write(text: string): unknown } = process.stdout): Command {
  return new Command('reload')
    .description(
      'Has the running gateway take its configuration file, certificates, CA and shared secret ' +
        'anew. What is wrong is refused whole, and the old one stays in force. Established ' +
        'connections are not touched. Exits 1 where it was refused.',
    )
    .option('--config <file>', 'configuration of the gateway (default: the embedded one)')
    .option('--data-dir <dir>', 'its data directory, in place of the one configured')
    .action(async (options: PlaceOptions) => {
      // What can be seen to be wrong is told before the gateway is asked.
      if (options.config !== undefined) loadConfig(options.config);
      const dataDir = dataDirOf(options);
      const pid = lockOwner(dataDir);
      if (pid === undefined) {
        throw new GatewayError('D4GW_E_CONTROL', `no gateway runs on ${dataDir}: start it`);
      }
      const before = (await newest(dataDir))?.seq ?? 0;
      signal(pid);
      const outcome = await outcomeAfter(dataDir, before);
      if (outcome.act === 'config.reload-refused') {
        const { reason } = outcome.after as { reason: string };
        throw new GatewayError('D4GW_E_CONTROL', reason);
      }
      const { changed } = outcome.after as { changed: string[] };
      out.write(`reloaded: ${changed.length === 0 ? 'certificates alone' : changed.join(', ')}\n`);
    });
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGHUP');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const mend = code === 'EPERM' ? 'run this as the user that runs it' : 'it has just ended';
    throw new GatewayError('D4GW_E_CONTROL', `cannot signal process ${pid} (${code}): ${mend}`);
  }
}

async function outcomeAfter(dataDir: string, seq: number): Promise<AuditEntry> {
  const deadline = Date.now() + TIMEOUT_MS;
  for (;;) {
    const entry = await newest(dataDir);
    if (entry && entry.seq > seq) return entry;
    if (Date.now() > deadline) {
      throw new GatewayError(
        'D4GW_E_CONTROL',
        `the gateway said nothing within ${TIMEOUT_MS / 1000} s: see its log`,
      );
    }
    await sleep(POLL_MS);
  }
}

/** The newest reload that was done or refused. */
async function newest(dataDir: string): Promise<AuditEntry | undefined> {
  const acts = await Promise.all(
    ['config.reload', 'config.reload-refused'].map(async (act) => {
      const [entry] = await readTrail(dataDir, { limit: 1, act });
      return entry;
    }),
  );
  return acts.flatMap((entry) => entry ?? []).sort((a, b) => b.seq - a.seq)[0];
}
