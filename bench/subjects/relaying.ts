import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ownDirectory } from '../proc/owned.js';
import { type GatewayOptions, PROGRAM, startGateway } from './gateway.js';
import type { ServerAccount } from './messages.js';
import type { Subject, Surroundings } from './subject.js';

const COMMAND_DEADLINE_MS = 20_000;

/**
 * A gateway that relays all it takes to another one, whose blackhole is where the work is proved
 * to be done. The cost that is measured is the relaying one's.
 */
export async function startRelaying(
  options: GatewayOptions & { sink: 'relay' | 'link' },
  around: Surroundings,
): Promise<Subject> {
  const { workers } = options;
  const end = { sink: 'blackhole', threads: 'auto', small: false, wss: true, workers } as const;
  const far = await startGateway(end, around);
  try {
    const relay =
      options.sink === 'relay'
        ? { to: `tls://127.0.0.1:${far.ports.tls}` }
        : {
            to: `wss://127.0.0.1:${far.ports.wss}`,
            tokenFile: await linkToken(far.configFile, around),
          };
    const near = await startGateway({ ...options, relay }, around);
    return {
      pid: near.pid,
      host: near.host,
      ports: near.ports,
      budgetBytes: near.budgetBytes,
      account: async () => joined(await near.account(), await far.account()),
      loopDelayP99Ms: () => near.loopDelayP99Ms(),
      stop: async () => [...(await near.stop()), ...(await far.stop())],
    };
  } catch (error) {
    await far.stop();
    throw error;
  }
}

/** What came through, and what went wrong at either. */
function joined(near: ServerAccount, far: ServerAccount): ServerAccount {
  return { ...far, problems: [...near.problems, ...far.problems] };
}

/** Has the far gateway make a token, in a file for its owner alone. */
export async function linkToken(configFile: string, { dir }: Surroundings): Promise<string> {
  const args = [PROGRAM, 'link', 'add', 'bench', '--config', configFile];
  const options = { timeout: COMMAND_DEADLINE_MS };
  const { stdout } = await promisify(execFile)(process.execPath, args, options);
  const file = join(ownDirectory(dir), 'token');
  writeFileSync(file, `${stdout.trim().split(/\s+/).at(-1)}\n`, { mode: 0o600 });
  return file;
}
