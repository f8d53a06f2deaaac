import { mkdirSync, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { RpcProcess } from '../proc/rpc.js';
import type { ServerAccount, ServerPorts } from './messages.js';
import { checkFlat } from './stored.js';
import type { SinkKind, Subject, Surroundings } from './subject.js';

const START_DEADLINE_MS = 20_000;
const CALL_DEADLINE_MS = 60_000;

const MODULES = {
  naive: new URL('../yardsticks/naive-gateway.js', import.meta.url),
  read: new URL('../yardsticks/tls-read.js', import.meta.url),
};

/** A yardstick server of this suite, in a process of its own. */
export async function startChildServer(
  kind: keyof typeof MODULES,
  sink: SinkKind,
  around: Surroundings,
  cpus: string | undefined,
): Promise<Subject> {
  const child = RpcProcess.start(MODULES[kind], { cpus });
  mkdirSync(around.dir, { recursive: true });
  const dir = sink === 'files' ? mkdtempSync(join(around.dir, `${kind}-`)) : undefined;
  const { cert, key, secret } = around;
  const params = {
    ...{ cert, key, secret: secret.toString('base64') },
    ...(dir === undefined ? {} : { dir }),
  };
  const ports = await child.call<ServerPorts>('start', params, START_DEADLINE_MS);
  return {
    pid: child.pid,
    host: '127.0.0.1',
    ports,
    account: () => child.call<ServerAccount>('account', {}, CALL_DEADLINE_MS),
    ...(dir === undefined ? {} : { checkStored: (sent, payload) => checkFlat(dir, sent, payload) }),
    stop: async () => {
      await child.stop();
      return [];
    },
  };
}
